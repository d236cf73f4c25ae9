//! The STATE_DB publisher with a real redis-server: exact rows, counters across restarts, removal, stop, second writers, and
//! every way in which Redis can be away. The same for the publisher of notices.

use dualtor_testkit::{child, fake_redis, redis_server};

mod content;
mod foreign;
mod log;
mod notifications;
mod outages;
mod rig;
mod stops;
