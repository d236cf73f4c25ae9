//! From an endpoint to the addresses to dial. A name is resolved anew for each dial.
//!
//! The system's resolver blocks a thread, and name servers that do not answer keep it for half a minute. So only a few names are
//! resolved at the same time: many names that hang must not take the threads that read certificate files.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::failure::Failure;
use crate::model::{Cause, Endpoint, text};

/// Names that are resolved at the same time, in the whole process.
const AT_A_TIME: usize = 16;
/// Addresses of a name that are tried; real names have one to eight.
const MOST_ADDRESSES: usize = 8;

static RESOLVING: Semaphore = Semaphore::const_new(AT_A_TIME);

/// The addresses, at least one, in the resolver's order. Half of the dial's `time` is left for the addresses.
pub(super) async fn addresses(
    endpoint: &Endpoint,
    began: Instant,
    time: Duration,
) -> Result<Vec<SocketAddr>, Failure> {
    let (name, port) = match endpoint {
        Endpoint::Ip(address) => return Ok(vec![*address]),
        Endpoint::Name(name, port) => (name.clone(), *port),
    };
    let failed = |what: String| Failure::new(Cause::Resolve, format!("{}: {what}", text::quoted(&name)));
    let within = time / 2;
    let Ok(found) = timeout_at(began + within, lookup(name.clone(), port)).await else {
        return Err(failed(format!(
            "the name servers did not answer within {within:?}"
        )));
    };
    match found {
        Ok(addresses) if addresses.is_empty() => Err(failed("the name has no address".to_owned())),
        Ok(addresses) => Ok(addresses),
        Err(error) => Err(failed(error.to_string())),
    }
}

async fn lookup(name: Arc<str>, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    // It is never closed.
    let place = RESOLVING.acquire().await.map_err(std::io::Error::other)?;
    let resolve = move || {
        // Kept until the thread is free, even if no one waits for it any more.
        let _place = place;
        let mut addresses = Vec::new();
        for address in (&*name, port).to_socket_addrs()? {
            if !addresses.contains(&address) && addresses.len() < MOST_ADDRESSES {
                addresses.push(address);
            }
        }
        Ok(addresses)
    };
    tokio::task::spawn_blocking(resolve)
        .await
        .map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_has_its_addresses_and_one_that_does_not_exist_fails_as_resolve() {
        let time = Duration::from_secs(60);
        let name = |name: &str| Endpoint::Name(name.into(), 7);
        let found = addresses(&name("localhost"), Instant::now(), time).await;
        let found = found.expect("addresses");
        assert!(
            found
                .iter()
                .all(|address| address.port() == 7 && address.ip().is_loopback()),
            "{found:?}"
        );
        let failure = addresses(&name("no-such-name.invalid"), Instant::now(), time).await;
        let failure = failure.expect_err("no address");
        assert_eq!(failure.cause, Cause::Resolve);
        assert!(
            failure.detail.starts_with("\"no-such-name.invalid\": "),
            "{failure}"
        );
    }
}
