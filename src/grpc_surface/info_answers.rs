//! Answers of grpc-helper's service, in its two dialects: which services there are, and which versions of their interfaces. Pure.

use dualtor_proto::served::{Filter, InfoResult, MultiServiceInfo, ServiceInfo};

/// The dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InfoService {
    /// `/InfoService/get`
    Older,
    /// `/RpcServerService/info`
    RpcServer,
}

/// The version of our interface, and the oldest that is supported.
const API: u32 = 1;

/// Results that are not good.
#[derive(Debug, Clone, Copy)]
enum Refused {
    Error,
    ClientTooOld,
    ServerTooOld,
    ItemUnknown,
}

impl InfoService {
    /// Its name in its dialect.
    fn name(self) -> &'static str {
        match self {
            Self::Older => "dualtor-exporter.info",
            Self::RpcServer => "dualtor-exporter",
        }
    }

    fn code(self, refused: Refused) -> i32 {
        match (refused, self) {
            (Refused::Error, _) => 1,
            (Refused::ClientTooOld, Self::Older) => 5,
            (Refused::ServerTooOld, Self::Older) => 6,
            (Refused::ClientTooOld, Self::RpcServer) => 11,
            (Refused::ServerTooOld, Self::RpcServer) => 12,
            (Refused::ItemUnknown, _) => 30,
        }
    }

    /// `api_version`: the version that the client speaks, if it says so. `filter`: the services that it wants; the older dialect has
    /// none.
    pub(super) fn answer(self, api_version: Option<&[u8]>, filter: &Filter) -> MultiServiceInfo {
        let version = check(api_version).and_then(|()| {
            let mut names = filter.names.iter();
            let is_known = |name: &String| name == self.name();
            if filter.ignore_unknown {
                return Ok(filter.names.is_empty() || names.any(is_known));
            }
            match names.all(is_known) {
                true => Ok(true),
                false => Err((
                    Refused::ItemUnknown,
                    "no service has one of these names".to_owned(),
                )),
            }
        });
        let item = || ServiceInfo {
            name: self.name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            current_api_version: API,
            supported_api_version: API,
        };
        match version {
            Ok(is_wanted) => MultiServiceInfo {
                r: None,
                items: is_wanted.then(item).into_iter().collect(),
            },
            Err((refused, msg)) => MultiServiceInfo {
                r: Some(InfoResult {
                    code: self.code(refused),
                    msg,
                    stack: String::new(),
                }),
                items: Vec::new(),
            },
        }
    }
}

/// Whether a client of this version can speak to us. An empty value is none.
fn check(api_version: Option<&[u8]>) -> Result<(), (Refused, String)> {
    let Some(text) = api_version.filter(|text| !text.is_empty()) else {
        return Ok(());
    };
    let text = text.trim_ascii();
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err((
            Refused::Error,
            "api_version: expected a whole number, such as 1".to_owned(),
        ));
    }
    let first = digits.iter().position(|digit| *digit != b'0');
    let value = match first.map_or(&[][..], |first| &digits[first..]) {
        [digit] if !is_negative => u32::from(digit - b'0'),
        // However many digits there are.
        [_, _, ..] if !is_negative => u32::MAX,
        _ => 0,
    };
    if value > API {
        let why = format!("the server's version of this interface ({API}) is older than the client's");
        Err((Refused::ServerTooOld, why))
    } else if value < API {
        let why = format!("the client's version of this interface is older than the server supports ({API})");
        Err((Refused::ClientTooOld, why))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(dialect: InfoService, version: &str) -> Option<i32> {
        let answer = dialect.answer(Some(version.as_bytes()), &Filter::default());
        assert_eq!(answer.items.len(), usize::from(answer.r.is_none()), "{answer:?}");
        answer.r.map(|result| result.code)
    }

    #[test]
    fn a_client_of_another_version_is_told_who_is_too_old_in_its_dialect() {
        use InfoService::{Older, RpcServer};
        let check = |version: &str, older: Option<i32>, current: Option<i32>| {
            assert_eq!(
                (code(Older, version), code(RpcServer, version)),
                (older, current),
                "{version:?}"
            );
        };
        for fits in ["", "1", " 1 ", "+1", "0001"] {
            check(fits, None, None);
        }
        for newer in ["2", "10", "99999999999999999999999999", "+0002"] {
            check(newer, Some(6), Some(12));
        }
        for older in ["0", "-1", "-99999999999999999999999", "-0", "000"] {
            check(older, Some(5), Some(11));
        }
        for nonsense in ["x", "1.0", "-", "+", " ", "1 1", "0x1", "\u{661}"] {
            check(nonsense, Some(1), Some(1));
        }
    }

    #[test]
    fn only_services_with_the_wanted_names_are_listed() {
        let answer = |names: &[&str], ignore_unknown| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let filter = Filter {
                names,
                ignore_unknown,
            };
            let answer = InfoService::RpcServer.answer(None, &filter);
            (answer.r.map(|result| result.code), answer.items.len())
        };
        assert_eq!(answer(&[], false), (None, 1));
        assert_eq!(
            answer(&["dualtor-exporter", "dualtor-exporter"], false),
            (None, 1)
        );
        assert_eq!(answer(&["dualtor-exporter", "other"], false), (Some(30), 0));
        assert_eq!(answer(&["other"], true), (None, 0));
        assert_eq!(answer(&["other", "dualtor-exporter"], true), (None, 1));
    }
}
