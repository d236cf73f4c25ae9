//! Compiles `proto/` with protox, so that no protoc is needed on the build machine.
//!
//! For what the exporter serves itself it also writes a table for server reflection: each file's descriptor and the symbols in it. So
//! the program need not read descriptors when it runs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const PROTO: &str = "../../proto";
/// What the exporter serves itself.
const SERVED: [&str; 4] = [
    "grpc/health/v1/health.proto",
    "grpc/reflection/v1/reflection.proto",
    "grpc/reflection/v1alpha/reflection.proto",
    "service_info.proto",
];

fn main() -> Outcome<()> {
    println!("cargo:rerun-if-changed={PROTO}");
    let descriptors = protox::compile(["linkmgr_grpc_driver.proto"], [PROTO])?;
    // Messages only: the calls are written by hand (src/soc/transport/typed_call.rs).
    prost_build::Config::new().compile_fds(descriptors)?;
    served()
}

/// Messages only, in a folder of their own: two of the files have no package, as linkmgr_grpc_driver.proto.
fn served() -> Outcome<()> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("served");
    std::fs::create_dir_all(&out)?;
    let descriptors = protox::compile(SERVED, [PROTO])?;
    write_table(&out, &descriptors)?;
    prost_build::Config::new()
        .btree_map(["."])
        .out_dir(&out)
        .compile_fds(descriptors)?;
    Ok(())
}

fn write_table(out: &Path, descriptors: &FileDescriptorSet) -> Outcome<()> {
    let mut table = String::from("pub const DESCRIBED_FILES: &[DescribedFile] = &[\n");
    for (n, file) in descriptors.file.iter().enumerate() {
        if !file.dependency.is_empty() {
            return Err(format!(
                "{}: reflection sends one file, so it must import none",
                file.name()
            )
            .into());
        }
        // Comments are for people who read the source.
        let bare = FileDescriptorProto {
            source_code_info: None,
            ..file.clone()
        };
        std::fs::write(out.join(format!("{n}.descriptor")), bare.encode_to_vec())?;
        let symbols = symbols(file);
        let services: Vec<String> = file
            .service
            .iter()
            .map(|service| full_name(file.package(), service.name()))
            .collect();
        writeln!(
            table,
            "DescribedFile {{ name: {:?}, descriptor: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/served/{n}.descriptor\")), services: &{services:?}, symbols: &{symbols:?} }},",
            file.name()
        )?;
    }
    table.push_str("];\n");
    Ok(std::fs::write(out.join("described_files.rs"), table)?)
}

fn full_name(scope: &str, name: &str) -> String {
    match scope {
        "" => name.to_owned(),
        scope => format!("{scope}.{name}"),
    }
}

/// The full names of everything that a file defines, sorted.
fn symbols(file: &FileDescriptorProto) -> Vec<String> {
    let (package, mut found) = (file.package(), Vec::new());
    for message in &file.message_type {
        add_message(package, message, &mut found);
    }
    for each in &file.enum_type {
        add_enum(package, each, &mut found);
    }
    for service in &file.service {
        let name = full_name(package, service.name());
        found.extend(
            service
                .method
                .iter()
                .map(|method| full_name(&name, method.name())),
        );
        found.push(name);
    }
    found.sort();
    found
}

fn add_message(scope: &str, message: &DescriptorProto, found: &mut Vec<String>) {
    let name = full_name(scope, message.name());
    found.extend(message.field.iter().map(|field| full_name(&name, field.name())));
    found.extend(
        message
            .oneof_decl
            .iter()
            .map(|oneof| full_name(&name, oneof.name())),
    );
    for nested in &message.nested_type {
        add_message(&name, nested, found);
    }
    for each in &message.enum_type {
        add_enum(&name, each, found);
    }
    found.push(name);
}

/// The values of an enum are named beside it, not in it.
fn add_enum(scope: &str, each: &EnumDescriptorProto, found: &mut Vec<String>) {
    found.extend(each.value.iter().map(|value| full_name(scope, value.name())));
    found.push(full_name(scope, each.name()));
}
