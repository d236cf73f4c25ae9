//! The four DualToRActive queries, and which replies are valid.
//!
//! Deployed code reads replies by position. Here the portids decide, in any order. A reply that does not have portids 0 and 1
//! exactly once each is invalid. An empty one is accepted as such: SONiC's NIC simulator sends it on a healthy SoC.

use std::sync::Arc;

use tonic::Status;

use super::{QueryAnswer, reply_text};
use crate::model::{MuxDirection, PortState, UpperLower};
use crate::soc::transport::Transport;
use crate::soc::transport::typed_call::unary;
use dualtor_proto::{
    AdminReply, AdminRequest, LinkStateReply, LinkStateRequest, OperationReply, OperationRequest,
    ServerVersionReply, ServerVersionRequest,
};

/// Both ends of the cable: 0 is the lower ToR's, 1 the upper's.
const PORT_IDS: [i32; 2] = [0, 1];
/// The version of the protocol that the deployed client sends.
const CLIENT_VERSION: &str = "1.0";

// There is no package.
const ADMIN: &str = "/DualToRActive/QueryAdminForwardingPortState";
const OPERATION: &str = "/DualToRActive/QueryOperationPortState";
const LINK: &str = "/DualToRActive/QueryLinkState";
const VERSION: &str = "/DualToRActive/QueryServerVersion";

pub(super) async fn admin(transport: &Transport) -> QueryAnswer<UpperLower<MuxDirection>> {
    let message = AdminRequest {
        portid: PORT_IDS.to_vec(),
        state: vec![false, false],
    };
    let reply = unary(transport, ADMIN, &message).await;
    by_port(reply, |reply: &AdminReply| (&reply.portid, &reply.state))
}

pub(super) async fn operation(transport: &Transport) -> QueryAnswer<UpperLower<PortState>> {
    let message = OperationRequest {
        portid: PORT_IDS.to_vec(),
    };
    let reply = unary(transport, OPERATION, &message).await;
    by_port(reply, |reply: &OperationReply| (&reply.portid, &reply.state))
}

pub(super) async fn link(transport: &Transport) -> QueryAnswer<UpperLower<PortState>> {
    let message = LinkStateRequest {
        portid: PORT_IDS.to_vec(),
    };
    let reply = unary(transport, LINK, &message).await;
    by_port(reply, |reply: &LinkStateReply| (&reply.portid, &reply.state))
}

pub(super) async fn version(transport: &Transport) -> QueryAnswer<Option<Arc<str>>> {
    let message = ServerVersionRequest {
        version: CLIENT_VERSION.to_owned(),
    };
    match unary::<_, ServerVersionReply>(transport, VERSION, &message).await {
        Err(status) => QueryAnswer::failed(&status),
        Ok(reply) if reply.version.is_empty() => QueryAnswer::empty(),
        Ok(reply) => QueryAnswer::ok(Some(
            reply_text::clean(&reply.version, reply_text::MAX_VERSION).into(),
        )),
    }
}

fn by_port<R, S>(
    reply: Result<R, Status>,
    lists: impl FnOnce(&R) -> (&Vec<i32>, &Vec<bool>),
) -> QueryAnswer<UpperLower<S>>
where
    S: Copy + Default + From<bool>,
{
    match reply {
        Err(status) => QueryAnswer::failed(&status),
        Ok(reply) => {
            let (ids, states) = lists(&reply);
            read(ids, states)
        }
    }
}

/// Reads the two parallel lists of a reply.
fn read<S: Copy + Default + From<bool>>(ids: &[i32], states: &[bool]) -> QueryAnswer<UpperLower<S>> {
    match (ids, states) {
        ([], []) => QueryAnswer::empty(),
        (&[0, 1], &[lower, upper]) | (&[1, 0], &[upper, lower]) => QueryAnswer::ok(UpperLower {
            upper: upper.into(),
            lower: lower.into(),
        }),
        _ => {
            // The quotation is short: the lists may be long.
            let shown = &ids[..ids.len().min(4)];
            QueryAnswer::invalid(format!(
                "expected portids 0 and 1 once each with their states, got {} portids {shown:?} and {} states",
                ids.len(),
                states.len(),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::QueryResult::{EmptyReply, InvalidReply, Ok};

    #[test]
    fn a_reply_is_read_by_portid_and_anything_odd_is_invalid() {
        use MuxDirection::{Active, Standby, Unknown};
        // ids, states, result, [lower, upper]
        let table: &[(&[i32], &[bool], _, [MuxDirection; 2])] = &[
            (&[0, 1], &[true, false], Ok, [Active, Standby]),
            (&[1, 0], &[true, false], Ok, [Standby, Active]),
            (&[0, 1], &[true, true], Ok, [Active, Active]),
            (&[], &[], EmptyReply, [Unknown, Unknown]),
            (&[0], &[true], InvalidReply, [Unknown, Unknown]),
            (&[0, 0], &[true, true], InvalidReply, [Unknown, Unknown]),
            (&[0, 7], &[true, true], InvalidReply, [Unknown, Unknown]),
            (&[0, 1], &[true], InvalidReply, [Unknown, Unknown]),
            (&[0, 1], &[], InvalidReply, [Unknown, Unknown]),
            (&[], &[true, false], InvalidReply, [Unknown, Unknown]),
            (&[0, 1, 2], &[true, true, true], InvalidReply, [Unknown, Unknown]),
            (&[0, 1, 0], &[true, true, true], InvalidReply, [Unknown, Unknown]),
        ];
        for (ids, states, result, [lower, upper]) in table {
            let answer = read::<MuxDirection>(ids, states);
            assert_eq!(answer.result, *result, "{ids:?} {states:?}");
            let (upper, lower) = (*upper, *lower);
            assert_eq!(answer.value, UpperLower { upper, lower }, "{ids:?} {states:?}");
        }
    }

    proptest! {
        #[test]
        fn any_lists_at_all_give_an_answer_whose_error_is_short(
            ids in prop::collection::vec(any::<i32>(), 0..2000),
            states in prop::collection::vec(any::<bool>(), 0..2000),
        ) {
            let answer = read::<PortState>(&ids, &states);
            prop_assert!(answer.error.is_none_or(|text| text.len() < 250));
        }
    }
}
