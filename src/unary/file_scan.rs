//! One `FileDescriptorProto` before prost-reflect sees it: its name, its imports, how much is in it, and the same file without what
//! no call needs (options, comments, extensions, reserved names).
//!
//! It is read field by field, so that the file of a hostile server costs nothing before it is known to be small enough. prost-reflect
//! panics on a syntax that it does not know, so that is checked here.

use crate::model::quoted;
use crate::unary::SchemaError;
use dualtor_proto::wire::{Malformed, WireFields, WireValue, put, put_bytes};

/// Nested types deeper than this are refused. protoc allows 32.
const MAX_DEPTH: usize = 32;
/// The longest name, in bytes.
const MAX_NAME: usize = 1024;
/// The most imports of one file: as many as a schema may have files.
const MAX_IMPORTS: usize = 512;
/// What prost-reflect needs for a field with short names, in bytes: it keeps three descriptions of each.
const ITEM_WEIGHT: usize = 1000;

/// What an import needs beside its name: it is kept here, and in prost-reflect's two descriptions of the file.
const IMPORT_WEIGHT: usize = 200;

/// A file that may be used.
#[derive(Debug)]
pub(super) struct ScannedFile {
    pub(super) name: String,
    pub(super) imports: Vec<String>,
    /// The file, without what no call needs.
    pub(super) bytes: Vec<u8>,
    pub(super) size: FileSize,
}

/// How much is in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct FileSize {
    /// Messages and enums.
    pub(super) types: usize,
    /// What prost-reflect will need for it, about, in bytes.
    pub(super) weight: usize,
}

/// Where a descriptor is: how many are around it, and how long its own full name is.
#[derive(Clone, Copy)]
struct Nesting {
    depth: usize,
    name: usize,
}

impl FileSize {
    /// Adds one type, field, oneof, value of an enum, service or method. Its full name is kept with it several times, and
    /// the full name of a nested type has the names of all around it.
    fn add(&mut self, at: Nesting) {
        self.weight += ITEM_WEIGHT + 4 * at.name + 16 * at.depth;
    }
}

impl Nesting {
    /// That of a descriptor in this one. Its name may stand behind what is nested in it.
    fn inner(self, descriptor: &[u8]) -> Result<Self, Malformed> {
        let mut name = 0;
        for field in WireFields::of(descriptor) {
            if let (1, WireValue::Bytes(given)) = field? {
                name = given.len();
            }
        }
        let depth = self.depth + 1;
        if depth > MAX_DEPTH || name > MAX_NAME {
            return Err(Malformed);
        }
        Ok(Self {
            depth,
            name: self.name + 1 + name,
        })
    }
}

#[derive(Clone, Copy)]
enum Descriptor {
    Message,
    Enum,
    Service,
    Field,
    Oneof,
    EnumValue,
    Method,
}

/// What a field of a descriptor has.
enum PartContent {
    Type(Descriptor),
    Part(Descriptor),
    /// Only the option with this number is kept.
    Options(u64),
    NotNeeded,
    Plain,
}

impl Descriptor {
    fn content(self, number: u64) -> PartContent {
        match (self, number) {
            (Self::Message, 2) => PartContent::Part(Self::Field),
            (Self::Message, 3) => PartContent::Type(Self::Message),
            (Self::Message, 4) => PartContent::Type(Self::Enum),
            (Self::Message, 8) => PartContent::Part(Self::Oneof),
            (Self::Enum, 2) => PartContent::Part(Self::EnumValue),
            (Self::Service, 2) => PartContent::Part(Self::Method),
            // map_entry, allow_alias and packed change what a message means.
            (Self::Message, 7) => PartContent::Options(7),
            (Self::Enum, 3) | (Self::Field, 8) => PartContent::Options(2),
            // Extensions, and what is reserved.
            (Self::Message, 5 | 6 | 9 | 10) | (Self::Enum, 4 | 5) => PartContent::NotNeeded,
            // Options.
            (Self::Service | Self::EnumValue, 3) | (Self::Oneof, 2) | (Self::Method, 4) => {
                PartContent::NotNeeded
            }
            _ => PartContent::Plain,
        }
    }
}

/// Reads and copies a file.
pub(super) fn scan(file: &[u8]) -> Result<ScannedFile, SchemaError> {
    let unreadable = |Malformed| SchemaError::new("a file descriptor cannot be decoded");
    let (mut name, mut imports, mut syntax) = (String::new(), Vec::new(), String::new());
    let (mut bytes, mut size) = (Vec::with_capacity(file.len()), FileSize::default());
    let package = package(file).map_err(unreadable)?;
    for field in WireFields::of(file) {
        let (number, value) = field.map_err(unreadable)?;
        match (number, value) {
            (1, WireValue::Bytes(given)) => name = text(given).map_err(unreadable)?,
            (3, WireValue::Bytes(given)) if imports.len() < MAX_IMPORTS => {
                imports.push(text(given).map_err(unreadable)?);
                size.weight += IMPORT_WEIGHT;
            }
            (3, _) => return Err(unreadable(Malformed)),
            (12, WireValue::Bytes(given)) => syntax = text(given).map_err(unreadable)?,
            (4..=6, WireValue::Bytes(inner)) => {
                let kind = match number {
                    4 => Descriptor::Message,
                    5 => Descriptor::Enum,
                    _ => Descriptor::Service,
                };
                size.types += usize::from(number < 6);
                let copy = copied(inner, kind, &mut size, package).map_err(unreadable)?;
                put_bytes(&mut bytes, number, &copy);
                continue;
            }
            // The package, and which imports are public.
            (2 | 10, _) => {}
            // Extensions, options, comments, and what prost-reflect does not know.
            _ => continue,
        }
        put(&mut bytes, number, value);
    }
    known_syntax(&name, &syntax)?;
    Ok(ScannedFile {
        name,
        imports,
        bytes,
        size,
    })
}

/// The nesting of a file: its package is part of each full name.
fn package(file: &[u8]) -> Result<Nesting, Malformed> {
    let mut name = 0;
    for field in WireFields::of(file) {
        if let (2, WireValue::Bytes(package)) = field? {
            name = text(package)?.len();
        }
    }
    Ok(Nesting { depth: 0, name })
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    if bytes.len() > MAX_NAME {
        return Err(Malformed);
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed)
}

fn known_syntax(name: &str, syntax: &str) -> Result<(), SchemaError> {
    match syntax {
        "" | "proto2" | "proto3" => Ok(()),
        other => Err(SchemaError::new(format_args!(
            "{} has the syntax {}, expected proto2 or proto3: write the few fields you need as proto3",
            quoted(name),
            quoted(other)
        ))),
    }
}

/// The descriptor without what no call needs. Adds it, and what is in it, to `size`.
fn copied(
    descriptor: &[u8],
    kind: Descriptor,
    size: &mut FileSize,
    around: Nesting,
) -> Result<Vec<u8>, Malformed> {
    let own = around.inner(descriptor)?;
    size.add(own);
    let mut copy = Vec::new();
    for field in WireFields::of(descriptor) {
        let (number, value) = field?;
        match (kind.content(number), value) {
            (PartContent::Type(of), WireValue::Bytes(inner)) => {
                size.types += 1;
                put_bytes(&mut copy, number, &copied(inner, of, size, own)?);
            }
            (PartContent::Part(of), WireValue::Bytes(inner)) => {
                put_bytes(&mut copy, number, &copied(inner, of, size, own)?);
            }
            (PartContent::Options(kept), WireValue::Bytes(options)) => {
                let options = option_alone(options, kept)?;
                if !options.is_empty() {
                    put_bytes(&mut copy, number, &options);
                }
            }
            (PartContent::NotNeeded, _) => {}
            _ => put(&mut copy, number, value),
        }
    }
    Ok(copy)
}

fn option_alone(options: &[u8], kept: u64) -> Result<Vec<u8>, Malformed> {
    let mut copy = Vec::new();
    for option in WireFields::of(options) {
        let (number, value) = option?;
        if number == kept && matches!(value, WireValue::Varint(_)) {
            copy.clear();
            put(&mut copy, number, value);
        }
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use prost_reflect::prost::Message as _;
    use prost_reflect::prost_types::{
        DescriptorProto, EnumDescriptorProto, EnumOptions, EnumValueDescriptorProto, FieldDescriptorProto,
        FieldOptions, FileDescriptorProto, FileOptions, MessageOptions, MethodDescriptorProto, MethodOptions,
        OneofDescriptorProto, ServiceDescriptorProto, SourceCodeInfo,
    };

    use super::*;

    fn named(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    /// With and without what no call needs.
    fn file(full: bool) -> FileDescriptorProto {
        FileDescriptorProto {
            name: named("a.proto"),
            package: named("p"),
            dependency: vec!["b.proto".to_owned()],
            public_dependency: vec![0],
            syntax: named("proto3"),
            message_type: vec![DescriptorProto {
                name: named("M"),
                field: vec![FieldDescriptorProto {
                    name: named("f"),
                    number: Some(1),
                    options: Some(FieldOptions {
                        packed: Some(false),
                        deprecated: full.then_some(true),
                        ..FieldOptions::default()
                    }),
                    ..FieldDescriptorProto::default()
                }],
                nested_type: vec![DescriptorProto {
                    name: named("E"),
                    options: Some(MessageOptions {
                        map_entry: Some(true),
                        deprecated: full.then_some(true),
                        ..MessageOptions::default()
                    }),
                    ..DescriptorProto::default()
                }],
                oneof_decl: vec![OneofDescriptorProto {
                    name: named("o"),
                    options: None,
                }],
                reserved_name: if full { vec!["old".to_owned()] } else { vec![] },
                ..DescriptorProto::default()
            }],
            enum_type: vec![EnumDescriptorProto {
                name: named("N"),
                value: vec![EnumValueDescriptorProto {
                    name: named("ZERO"),
                    number: Some(0),
                    options: None,
                }],
                options: Some(EnumOptions {
                    allow_alias: Some(true),
                    ..EnumOptions::default()
                }),
                ..EnumDescriptorProto::default()
            }],
            service: vec![ServiceDescriptorProto {
                name: named("S"),
                method: vec![MethodDescriptorProto {
                    name: named("Get"),
                    input_type: named(".p.M"),
                    output_type: named(".p.M"),
                    options: full.then(MethodOptions::default),
                    ..MethodDescriptorProto::default()
                }],
                options: None,
            }],
            extension: if full {
                vec![FieldDescriptorProto::default()]
            } else {
                vec![]
            },
            options: full.then(FileOptions::default),
            source_code_info: full.then(SourceCodeInfo::default),
            ..FileDescriptorProto::default()
        }
    }

    #[test]
    fn what_no_call_needs_is_left_out_and_the_rest_is_counted() {
        let scanned = scan(&file(true).encode_to_vec()).expect("a file");
        assert_eq!(scanned.bytes, file(false).encode_to_vec());
        assert_eq!(
            (&*scanned.name, &scanned.imports[..]),
            ("a.proto", &["b.proto".to_owned()][..])
        );
        assert_eq!(scanned.size.types, 3);
        // The three types, a field, an oneof, a value, a service and a method.
        assert_eq!(scanned.size.weight / ITEM_WEIGHT, 8);
    }

    #[test]
    fn a_syntax_on_which_prost_reflect_panics_is_refused_with_advice() {
        for syntax in ["editions", "proto4", "x\n"] {
            let file = FileDescriptorProto {
                syntax: named(syntax),
                ..file(false)
            };
            let error = scan(&file.encode_to_vec()).expect_err(syntax).to_string();
            assert!(
                error.contains("expected proto2 or proto3: write the few fields you need as proto3"),
                "{error}"
            );
        }
    }

    #[test]
    fn nesting_has_an_end_and_garbage_is_no_file() {
        let mut message = DescriptorProto::default();
        for _ in 0..40 {
            message = DescriptorProto {
                nested_type: vec![message],
                ..DescriptorProto::default()
            };
        }
        let file = FileDescriptorProto {
            message_type: vec![message],
            ..FileDescriptorProto::default()
        };
        for bad in [
            &file.encode_to_vec()[..],
            b"\x0a\x05a",
            b"\x0a\x01\xff",
            b"\x22\x02\x12\x05",
        ] {
            assert!(scan(bad).is_err(), "{bad:?}");
        }
    }
}
