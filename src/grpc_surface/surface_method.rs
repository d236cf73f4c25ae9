//! The methods that are served, by their paths. Pure.

use super::info_answers::InfoService;

/// A method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SurfaceMethod {
    Check,
    List,
    Watch,
    /// In both versions, whose messages are the same.
    Reflection,
    Info(InfoService),
}

impl SurfaceMethod {
    /// `None`: there is no such method.
    pub(super) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/grpc.health.v1.Health/Check" => Self::Check,
            "/grpc.health.v1.Health/List" => Self::List,
            "/grpc.health.v1.Health/Watch" => Self::Watch,
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
            | "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => Self::Reflection,
            "/InfoService/get" => Self::Info(InfoService::Older),
            "/RpcServerService/info" => Self::Info(InfoService::RpcServer),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use dualtor_proto::served::DESCRIBED_FILES;

    use super::*;

    #[test]
    fn each_method_that_reflection_describes_is_served() {
        let mut count = 0;
        for file in DESCRIBED_FILES {
            for service in file.services {
                let begin = format!("{service}.");
                for method in file
                    .symbols
                    .iter()
                    .filter_map(|symbol| symbol.strip_prefix(&begin))
                {
                    count += 1;
                    let path = format!("/{service}/{method}");
                    assert!(SurfaceMethod::of(&path).is_some(), "{path}");
                }
            }
        }
        assert_eq!(count, 7);
        assert_eq!(SurfaceMethod::of("/RpcServerService/shutdown"), None);
    }
}
