//! The STATE_DB publisher against a real redis-server: rows word for word, counters that go on, removal, stop, second
//! writers, and every way in which Redis can be away; the publisher of notices likewise.

use dualtor_testkit::{child, fake_redis, redis_server};

mod content;
mod foreign;
mod log;
mod notifications;
mod outages;
mod rig;
mod stops;
