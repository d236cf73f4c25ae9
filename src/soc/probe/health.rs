//! `grpc.health.v1.Health/Check`, for a SoC with service `""`.

use tonic::{Code, Status};

use super::QueryAnswer;
use crate::model::Health;
use crate::soc::transport::typed_call::unary;
use crate::soc::transport::{Transport, is_peers};
use dualtor_proto::served::{HealthCheckRequest, HealthCheckResponse, ServingStatus};

const CHECK: &str = "/grpc.health.v1.Health/Check";

pub(super) async fn check(transport: &Transport) -> QueryAnswer<Health> {
    let asked = unary(transport, CHECK, &HealthCheckRequest::default());
    let reply: Result<HealthCheckResponse, _> = asked.await;
    match reply {
        Ok(reply) => read(reply.status),
        Err(status) => failed(&status),
    }
}

/// The meaning of a status other than OK.
pub(in crate::soc) fn failed(status: &Status) -> QueryAnswer<Health> {
    let mut answer = QueryAnswer::failed(status);
    answer.value = match status.code() {
        // A web server's 404 is UNIMPLEMENTED too, by gRPC's table, but it says nothing about the peer's health.
        _ if !is_peers(status) => Health::Unknown,
        // No health service, or no such service: states of their own, not a failed peer.
        Code::Unimplemented => Health::Unimplemented,
        Code::NotFound => Health::ServiceUnknown,
        _ => Health::Unknown,
    };
    answer
}

/// The meaning of a health status, from Check or Watch.
pub(in crate::soc) fn read(status: i32) -> QueryAnswer<Health> {
    match ServingStatus::try_from(status) {
        // UNKNOWN is the enum's zero, so its message is empty on the wire. It is still an answer.
        Ok(ServingStatus::Unknown) => QueryAnswer::ok(Health::Unknown),
        Ok(ServingStatus::Serving) => QueryAnswer::ok(Health::Serving),
        Ok(ServingStatus::NotServing) => QueryAnswer::ok(Health::NotServing),
        Ok(ServingStatus::ServiceUnknown) => QueryAnswer::ok(Health::ServiceUnknown),
        Err(_) => QueryAnswer::invalid(format!("health status {status} is not one of 0 to 3")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::QueryResult;

    #[test]
    fn each_serving_status_has_its_word_and_others_are_invalid() {
        let check = |status, result, health| {
            let answer = read(status);
            assert_eq!((answer.result, answer.value), (result, health), "{status}");
        };
        check(0, QueryResult::Ok, Health::Unknown);
        check(1, QueryResult::Ok, Health::Serving);
        check(2, QueryResult::Ok, Health::NotServing);
        check(3, QueryResult::Ok, Health::ServiceUnknown);
        check(4, QueryResult::InvalidReply, Health::Unknown);
        check(-1, QueryResult::InvalidReply, Health::Unknown);
    }
}
