//! The generated messages of `proto/`. And messages of any kind, read field by field (`wire`): of what a peer sends nothing is
//! kept but what is asked for. Pure, and optimised in test builds too, as tests read megabytes with it.

pub mod distinct_keys;
pub mod served;
pub mod wire;

pub use generated::*;

#[allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all)]
mod generated {
    // The .proto files have no package, hence this name.
    include!(concat!(env!("OUT_DIR"), "/_.rs"));
}
