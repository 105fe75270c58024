//! `voxd` delivers voice: it takes voice events off SQS, places AI phone calls, and records every outcome in Postgres.
//!
//! The rooms, from the top floor down. Imports go downwards only (a test reads the `use crate::` lines and holds this);
//! siblings among the edges do not know each other.
//!
//! | floor | rooms |
//! |---|---|
//! | wiring | [`app`], [`cli`] |
//! | surfaces | [`http`], [`sim`], [`dev`] |
//! | services | [`processors`], [`delivery`], [`webhooks`], [`reconcile`], [`outcomes`], [`analytics`], [`story`] |
//! | services | [`processors`], [`delivery`], [`webhooks`], [`reconcile`], [`outcomes`], [`realtime`], [`analytics`] |
//! | services | [`processors`], [`delivery`], [`webhooks`], [`reconcile`], [`outcomes`], [`analytics`], [`speech_jobs`], [`story`] |
//! | edges | [`queue`], [`store`], [`platforms`], [`speech`] |
//! | nouns and rules, no I/O | [`call`], [`job`], [`audio`], [`session`] |
//! | ground | [`config`], [`telemetry`], [`health`], [`clock`], [`retry`], [`lifecycle`], [`egress`], [`text`] |

pub mod analytics;
pub mod app;
pub mod audio;
pub mod call;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod dev;
pub mod egress;
pub mod fault;
pub mod health;
pub mod http;
pub mod job;
pub mod lifecycle;
pub mod outcomes;
pub mod platforms;
pub mod processors;
pub mod queue;
pub mod realtime;
pub mod reconcile;
pub mod retry;
pub mod session;
pub mod sim;
pub mod speech;
pub mod speech_jobs;
pub mod store;
pub mod story;
pub mod telemetry;
pub mod text;
pub mod webhooks;
