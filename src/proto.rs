//! The generated code for `proto/` (no package, hence the file name `_`).
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all)]
tonic::include_proto!("_");
