//! Platforms by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Platform;
use crate::config::{Config, PlatformConfig};

/// Makes a platform from its section of the configuration; `Err` says why it is off (its key is missing).
pub type Constructor = fn(&PlatformConfig) -> Result<Arc<dyn Platform>, String>;

/// One line per platform: a name and how to make it.
pub const REGISTERED: &[(&str, Constructor)] = &[
    (super::bland::NAME, super::bland::from_config),
    (super::vapi::NAME, super::vapi::from_config),
    (super::elevenlabs::NAME, super::elevenlabs::from_config),
    (super::retell::NAME, super::retell::from_config),
    (super::twilio::NAME, super::twilio::from_config),
];

/// The platforms that are on, and why the others are off.
#[derive(Clone, Default)]
pub struct PlatformRegistry {
    on: BTreeMap<&'static str, Arc<dyn Platform>>,
    off: BTreeMap<String, String>,
}

impl PlatformRegistry {
    pub fn from_config(config: &Config) -> Self {
        let mut registry = Self::default();
        for (name, construct) in REGISTERED {
            match config.platforms.get(*name).map(construct) {
                Some(Ok(platform)) => registry.register(platform),
                Some(Err(reason)) => registry.turn_off(name, reason),
                None => registry.turn_off(name, format!("there is no section platforms.{name}")),
            }
        }
        registry
    }

    /// Takes a further platform.
    pub fn register(&mut self, platform: Arc<dyn Platform>) {
        self.off.remove(platform.name());
        self.on.insert(platform.name(), platform);
    }

    pub fn turn_off(&mut self, name: &str, reason: String) {
        self.off.insert(name.to_owned(), reason);
    }

    /// The platform, or why it cannot be used.
    pub fn get(&self, name: &str) -> Result<&Arc<dyn Platform>, PlatformUnavailable> {
        self.on.get(name).ok_or_else(|| match self.off.get(name) {
            Some(reason) => PlatformUnavailable::Off { name: name.into(), reason: reason.clone() },
            None => PlatformUnavailable::Unsupported { name: name.into(), supported: self.supported().join(", ") },
        })
    }

    /// All names, on or off.
    pub fn supported(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.on.keys().copied().chain(self.off.keys().map(String::as_str)).collect();
        names.sort_unstable();
        names
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Platform>> {
        self.on.values()
    }

    /// Platforms that are off, with the reason.
    pub fn off(&self) -> impl Iterator<Item = (&str, &str)> {
        self.off.iter().map(|(name, reason)| (name.as_str(), reason.as_str()))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformUnavailable {
    #[error("platform {name:?} is off: {reason}")]
    Off { name: String, reason: String },
    #[error("platform {name:?} is not supported, expected one of: {supported}")]
    Unsupported { name: String, supported: String },
}

impl PlatformUnavailable {
    /// For `status_reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            PlatformUnavailable::Off { .. } => "platform_off",
            PlatformUnavailable::Unsupported { .. } => "platform_unsupported",
        }
    }
}
