//! Answers of gRPC's server reflection, from a table that the build has made. Pure.

use bytes::Bytes;
use dualtor_proto::served::reflection::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
    ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
    server_reflection_request::MessageRequest as Question,
    server_reflection_response::MessageResponse as Answer,
};
use dualtor_proto::served::{DESCRIBED_FILES, DescribedFile};
use tonic::{Code, Status};

use super::answer_body::framed;

/// Bytes of a request that is repeated in its answer. A longer one names nothing that could exist.
pub(super) const LONGEST_QUESTION: usize = 1024;

/// The answer to one request.
pub(super) fn answer(request: ServerReflectionRequest) -> Result<Bytes, Status> {
    let found = match &request.message_request {
        None => return Err(Status::invalid_argument("the request has no question")),
        Some(Question::ListServices(_)) => Ok(Answer::ListServicesResponse(services())),
        Some(Question::FileByFilename(name)) => {
            let file = DESCRIBED_FILES.iter().find(|file| file.name == name);
            file.map(descriptor).ok_or("no file has this name")
        }
        Some(Question::FileContainingSymbol(symbol)) => defines(symbol)
            .map(descriptor)
            .ok_or("no file defines this symbol"),
        Some(Question::FileContainingExtension(_)) => Err("there are no extensions"),
        Some(Question::AllExtensionNumbersOfType(name)) => {
            let numbers = |_| {
                Answer::AllExtensionNumbersResponse(ExtensionNumberResponse {
                    base_type_name: name.clone(),
                    extension_number: Vec::new(),
                })
            };
            defines(name).map(numbers).ok_or("no file defines this type")
        }
    };
    let answer = found.unwrap_or_else(|why| {
        Answer::ErrorResponse(ErrorResponse {
            error_code: Code::NotFound.into(),
            error_message: why.to_owned(),
        })
    });
    Ok(framed(&ServerReflectionResponse {
        valid_host: request.host.clone(),
        original_request: Some(request),
        message_response: Some(answer),
    }))
}

fn services() -> ListServiceResponse {
    let names = DESCRIBED_FILES.iter().flat_map(|file| file.services);
    let mut service: Vec<_> = names
        .map(|name| ServiceResponse {
            name: (*name).to_owned(),
        })
        .collect();
    service.sort_by(|one, other| one.name.cmp(&other.name));
    ListServiceResponse { service }
}

fn descriptor(file: &DescribedFile) -> Answer {
    Answer::FileDescriptorResponse(FileDescriptorResponse {
        file_descriptor_proto: vec![file.descriptor.to_vec()],
    })
}

fn defines(symbol: &str) -> Option<&'static DescribedFile> {
    DESCRIBED_FILES
        .iter()
        .find(|file| file.symbols.binary_search(&symbol).is_ok())
}

#[cfg(test)]
mod tests {
    use dualtor_proto::served::reflection::ExtensionRequest;
    use prost::Message as _;

    use super::*;

    fn ask(question: Question) -> Answer {
        let request = ServerReflectionRequest {
            host: "here".to_owned(),
            message_request: Some(question),
        };
        let message = answer(request.clone()).expect("an answer");
        let response = ServerReflectionResponse::decode(&message[5..]).expect("a message");
        assert_eq!(response.valid_host, "here");
        assert_eq!(response.original_request, Some(request));
        response.message_response.expect("an answer")
    }

    #[test]
    fn the_services_are_listed_by_name() {
        let Answer::ListServicesResponse(list) = ask(Question::ListServices("*".to_owned())) else {
            panic!("no list");
        };
        let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
        assert_eq!(
            names,
            [
                "InfoService",
                "RpcServerService",
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
            ]
        );
    }

    #[test]
    fn a_file_is_found_by_its_name_and_by_each_kind_of_symbol() {
        let health = "grpc/health/v1/health.proto";
        let by_name = ask(Question::FileByFilename(health.to_owned()));
        assert!(
            matches!(&by_name, Answer::FileDescriptorResponse(files) if files.file_descriptor_proto.len() == 1)
        );
        for symbol in [
            "grpc.health.v1.Health",
            "grpc.health.v1.Health.Watch",
            "grpc.health.v1.HealthCheckResponse",
            "grpc.health.v1.HealthCheckResponse.ServingStatus",
            "grpc.health.v1.HealthCheckResponse.SERVING",
            "grpc.health.v1.HealthCheckRequest.service",
        ] {
            assert_eq!(
                ask(Question::FileContainingSymbol(symbol.to_owned())),
                by_name,
                "{symbol}"
            );
        }
        let Answer::AllExtensionNumbersResponse(numbers) =
            ask(Question::AllExtensionNumbersOfType("MultiServiceInfo".to_owned()))
        else {
            panic!("no numbers");
        };
        assert_eq!(
            (&*numbers.base_type_name, numbers.extension_number.len()),
            ("MultiServiceInfo", 0)
        );
    }

    #[test]
    fn what_is_not_there_is_an_error_and_the_stream_goes_on() {
        let questions = [
            Question::FileByFilename("other.proto".to_owned()),
            Question::FileContainingSymbol("grpc.health.v1".to_owned()),
            Question::FileContainingSymbol(String::new()),
            Question::AllExtensionNumbersOfType("Nothing".to_owned()),
            Question::FileContainingExtension(ExtensionRequest::default()),
        ];
        for question in questions {
            let answer = ask(question.clone());
            assert!(
                matches!(&answer, Answer::ErrorResponse(error) if error.error_code == 5),
                "{question:?}: {answer:?}"
            );
        }
        let nothing = answer(ServerReflectionRequest::default());
        assert_eq!(nothing.expect_err("no question").code(), Code::InvalidArgument);
    }
}
