//! Simulated SoCs.
