//! Who is paged: a receiver of Alertmanager's webhooks, and what has arrived there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::wait::wait_until;

/// One alert of a notification.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Page {
    pub(crate) status: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Page {
    pub(crate) fn name(&self) -> &str {
        &self.labels["alertname"]
    }

    pub(crate) fn port(&self) -> &str {
        self.labels.get("port").map_or("", String::as_str)
    }
}

/// One message, as a phone shows it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Notification {
    pub(crate) receiver: String,
    pub(crate) status: String,
    pub(crate) alerts: Vec<Page>,
    /// The labels that all its alerts share: the title of the message.
    #[serde(default, rename = "commonAnnotations")]
    pub(crate) common: BTreeMap<String, String>,
}

type Inbox = Arc<Mutex<Vec<Notification>>>;

/// Where pages arrive.
pub(crate) struct Pager {
    pub(crate) address: SocketAddr,
    inbox: Inbox,
    _server: AbortOnDropHandle<()>,
}

impl Pager {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let inbox = Inbox::default();
        let app = Router::new().fallback(take).with_state(inbox.clone());
        let serve = async { axum::serve(listener, app).await.expect("it serves") };
        Self {
            address,
            inbox,
            _server: AbortOnDropHandle::new(tokio::spawn(serve)),
        }
    }

    /// All messages so far.
    pub(crate) fn notifications(&self) -> Vec<Notification> {
        self.inbox.lock().expect("no panic").clone()
    }

    /// All alerts of all messages so far, in the order of arrival.
    pub(crate) fn pages(&self) -> Vec<Page> {
        let notifications = self.notifications().into_iter();
        notifications
            .flat_map(|notification| notification.alerts)
            .collect()
    }

    /// Waits for an alert about a port. Empty: about no port.
    pub(crate) async fn rings(&self, status: &str, alert: &str, port: &str) -> Page {
        wait_until(&format!("{status} {alert} {port}"), async || {
            let pages = self.pages();
            let fits = |page: &&Page| page.status == status && page.name() == alert && page.port() == port;
            let seen = || {
                pages
                    .iter()
                    .map(|page| format!("{} {} {}", page.status, page.name(), page.port()))
            };
            match pages.iter().find(fits) {
                Some(page) => Ok(page.clone()),
                None => Err(seen().collect::<Vec<_>>().join(", ")),
            }
        })
        .await
    }
}

async fn take(State(inbox): State<Inbox>, uri: Uri, body: String) {
    let notification: Notification = serde_json::from_str(&body).expect("a notification");
    assert_eq!(uri.path(), format!("/{}", notification.receiver));
    inbox.lock().expect("no panic").push(notification);
}
