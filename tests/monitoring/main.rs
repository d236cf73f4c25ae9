//! What is delivered for monitoring, held against what it is for: the exporter's catalogue, Debian's Prometheus and
//! Alertmanager, and racks in which the things happen that alerts and dashboards speak of.
//!
//! | module | what it holds |
//! |---|---|
//! | sources | reads what is delivered: rule files, their tests, dashboards, the runbook |
//! | served | what the exporter serves: metrics, labels, and what these may say |
//! | promql | a query, read as Prometheus reads it, held against the metrics and labels that exist |
//! | grafana | the queries of a dashboard, with its variables filled in |
//! | catalogue | every metric, label and label value that is named anywhere exists |
//! | rules | promtool and amtool find nothing wrong; each alert is complete, tested and explained |
//! | stack, pager | start Prometheus and Alertmanager; who is paged |
//! | levels | which alert speaks of which reason, as docs/api.md says |
//! | inhibition | which alert mutes which, and what arrives as one message |
//! | queries | every query of every dashboard, put to a real Prometheus, returns data |
//! | routes | a server of gRIBI |
//! | synthetic | series of which all is known, and queries over them, put to promtool |
//! | numbers | what the dashboards' numbers count, and which words they become |
//! | targets | the same of *Services* |
//! | central | the same in central mode: racks in one exporter, processes that share them |
//! | paging | from a fault of a SoC to the page, and back |

use dualtor_testkit::{certificates, child, harness, http, soc_view, wait};

mod catalogue;
mod central;
mod grafana;
mod inhibition;
mod levels;
mod numbers;
mod pager;
mod paging;
mod promql;
mod queries;
mod routes;
mod rules;
mod served;
mod sources;
mod stack;
mod synthetic;
mod targets;
