//! The switch that the exporter runs on: what is in SONiC's databases, and the rows that are written to them.
//!
//! It emits an `Inventory` and `Facts`, and takes rows and notices from the fleet's mailboxes. Only the tasks in here ever wait
//! for Redis.
//!
//! Imports `model`, `runtime`, `config`, `soc` and `fleet`.
//!
//! | module | job |
//! |---|---|
//! | redis_link | one connection to Redis, one subscription |
//! | mirror | a live copy of some tables of one database |
//! | switch | the task that turns mirrors and grpc_secrets.json into inventory and facts |
//! | settings_row | `DUALTOR_EXPORTER\|config`, read once |
//! | discovery | the sources of `inventory`: files, HTTP servers, other switches |
//! | inventory | which SoCs to probe, as which ToR and how (pure) |
//! | intent | what linkmgrd requests for a port and what orchagent has done (pure) |
//! | rows | a status → the fields of its row (pure) |
//! | state_db | the task that writes rows |
//! | appl_db | the task that writes notices |
//! | ycabled_rows | what ycabled has written for linkmgrd (pure) |
//! | shadow | shadow mode compared with ycabled's rows (pure) |

pub mod appl_db;
pub mod discovery;
pub mod intent;
pub mod inventory;
pub mod mirror;
pub mod redis_link;
pub mod rows;
pub mod settings_row;
pub mod shadow;
pub mod state_db;
pub mod switch;
mod ycabled_rows;
