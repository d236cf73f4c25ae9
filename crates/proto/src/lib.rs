//! The generated code for `proto/`.

pub mod served;

pub use generated::*;

#[allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all)]
mod generated {
    // The .proto files have no package, hence this name.
    include!(concat!(env!("OUT_DIR"), "/_.rs"));
}
