//! The messages of what the exporter serves itself, and the table for its server reflection. It asks SoCs and targets for their
//! health with the same messages.

pub use generated::{Empty, Filter, MultiServiceInfo, Result as InfoResult, ServiceInfo};
pub use health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
    health_check_response::ServingStatus,
};
pub use table::DESCRIBED_FILES;

/// A .proto file.
#[derive(Debug)]
pub struct DescribedFile {
    /// Its name, as others import it.
    pub name: &'static str,
    /// Its `FileDescriptorProto`.
    pub descriptor: &'static [u8],
    /// The full names of its services.
    pub services: &'static [&'static str],
    /// The full names of everything that it defines, sorted.
    pub symbols: &'static [&'static str],
}

#[allow(missing_docs)]
mod table {
    use super::DescribedFile;

    include!(concat!(env!("OUT_DIR"), "/served/described_files.rs"));
}

#[allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/served/_.rs"));
}

#[allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all)]
mod health {
    include!(concat!(env!("OUT_DIR"), "/served/grpc.health.v1.rs"));
}

/// Server reflection. Version v1alpha has the same messages.
#[allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all)]
pub mod reflection {
    include!(concat!(env!("OUT_DIR"), "/served/grpc.reflection.v1.rs"));
}
