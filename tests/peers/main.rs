//! Probe modules against real servers: grpcio, grpc-helper, etcd, gobgpd. Each is started by its test, on a port of its own.
//!
//! | file | what it has |
//! |---|---|
//! | servers.py | the Python servers |
//! | install, requirements.txt | makes their environment |

mod health;
mod rig;
mod services;
mod unary;
