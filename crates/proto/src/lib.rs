//! The generated code for `proto/`.

pub mod codec;
pub mod served;

pub use generated::*;

#[allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all)]
mod generated {
    // The .proto files have no package, hence this name.
    tonic::include_proto!("_");
}
