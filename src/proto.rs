//! The generated code for `proto/`.

pub mod codec;

pub use generated::*;

#[allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all)]
mod generated {
    // No package, hence the name.
    tonic::include_proto!("_");
}

/// grpc.health.v1.
#[allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all)]
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}
