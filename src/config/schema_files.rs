//! The files of a schema: a descriptor set, or a proto and what it imports, which protox compiles. Blocks.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use protox::prost_reflect::prost::Message as _;

use super::files;
use crate::model::quoted;
use crate::model::text;
use crate::unary::{MAX_FILES, SchemaFiles};
use dualtor_proto::wire::{WireFields, WireValue};

/// The largest file, in MiB. A schema may have half of that.
const MOST_MIB: u64 = 1;

/// A `FileDescriptorSet`, as protoc writes it with --include_imports. The error says what was expected.
pub(super) fn of_set(path: &Path) -> Result<SchemaFiles, String> {
    let bytes = files::read(path, MOST_MIB).map_err(|error| unread(path, &error))?;
    let broken = || {
        let shown = quoted(&path.to_string_lossy());
        format!(
            "expected a FileDescriptorSet, as protoc --descriptor_set_out --include_imports writes it: {shown} is none"
        )
    };
    let mut found = SchemaFiles::default();
    let mut is_empty = true;
    for field in WireFields::of(&bytes) {
        match field.map_err(|_| broken())? {
            (1, WireValue::Bytes(file)) => {
                is_empty = false;
                found.add(file).map_err(|error| error.to_string())?;
            }
            (1, _) => return Err(broken()),
            _ => {}
        }
    }
    if is_empty {
        return Err(broken());
    }
    if let Some(import) = found.missing().first() {
        let import = quoted(import);
        return Err(format!(
            "expected all imports in the set, {import} is missing: protoc --include_imports adds them"
        ));
    }
    Ok(found)
}

fn unread(path: &Path, error: &std::io::Error) -> String {
    format!("cannot read {}: {error}", quoted(&path.to_string_lossy()))
}

/// A proto. What it imports is looked for beside it; protobuf's own files are built in.
pub(super) fn compiled(path: &Path) -> Result<SchemaFiles, String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(name) = name else {
        return Err("expected the path of a .proto file".to_owned());
    };
    // This error is clearer than the compiler's.
    files::read_text(path, MOST_MIB).map_err(|error| unread(path, &error))?;
    let mut resolver = ChainFileResolver::new();
    resolver.add(BesideResolver {
        directory: path.parent().unwrap_or(Path::new("")).to_owned(),
        opened: AtomicUsize::new(0),
    });
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_file(name).map_err(|error| not_compiled(&error))?;
    let mut found = SchemaFiles::default();
    for file in compiler.file_descriptor_set().file {
        found
            .add(&file.encode_to_vec())
            .map_err(|error| error.to_string())?;
    }
    Ok(found)
}

fn not_compiled(error: &protox::Error) -> String {
    // The debug form has file, line and column.
    let message = format!("{error:?}");
    let advice = match message.contains("edition") {
        true => ": needs proto2 or proto3: write the few fields you need as proto3",
        false => "",
    };
    text::shorten(
        format_args!("expected a proto that compiles: {message}{advice}"),
        400,
    )
}

/// Opens files of one directory and below it, of a limited size, and only so many.
struct BesideResolver {
    directory: PathBuf,
    opened: AtomicUsize,
}

impl FileResolver for BesideResolver {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let is_below = !name.is_empty()
            && !name
                .split(['/', '\\'])
                .any(|part| part.is_empty() || part == "..");
        if !is_below || self.opened.fetch_add(1, Ordering::Relaxed) >= MAX_FILES {
            return Err(protox::Error::file_not_found(name));
        }
        let path = self.directory.join(name);
        match files::read_text(&path, MOST_MIB) {
            Ok(source) => File::from_source(name, &source),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(protox::Error::file_not_found(name))
            }
            Err(error) => Err(protox::Error::new(error)),
        }
    }
}
