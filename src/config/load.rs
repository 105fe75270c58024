//! Layers of configuration: defaults, file, environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, duration};
use crate::text::nearest_hint;

/// The compiled-in reference.
pub const DEFAULTS: &str = include_str!("default.toml");

/// The ecosystem's own names, and the setting each one stands for.
const ALIASES: &[(&str, &str)] = &[
    ("DATABASE_URL", "database.url"),
    ("VOXD_QUEUES", "queue.urls"),
    ("VOXD_OUTCOME_QUEUE", "outcomes.queue"),
    ("BLAND_AI_API_KEY", "platforms.bland_ai.api_key"),
    ("VAPI_API_KEY", "platforms.vapi.api_key"),
    ("TWILIO_ACCOUNT_SID", "platforms.twilio.account_sid"),
    ("TWILIO_AUTH_TOKEN", "platforms.twilio.api_key"),
    ("ELEVENLABS_API_KEY", "platforms.elevenlabs.api_key"),
    ("RETELL_API_KEY", "platforms.retell.api_key"),
    ("GOOGLE_CLOUD_PROJECT", "speech.google.project"),
    ("GOOGLE_APPLICATION_CREDENTIALS", "speech.google.credentials_file"),
    ("GOOGLE_CLOUD_QUOTA_PROJECT", "speech.google.quota_project"),
    ("OPENAI_API_KEY", "speech.openai.api_key"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
];

/// Names of the form `VOXD_…` that are not settings.
const NOT_SETTINGS: &[&str] =
    &["VOXD_QUEUES", "VOXD_OUTCOME_QUEUE", "VOXD_CONFIG", "VOXD_API_KEY", "VOXD_URL", "VOXD_DEV"];
const NOT_SETTINGS_PREFIXES: &[&str] = &["VOXD_TEST_", "VOXD_DEV_"];

/// How long it is remembered when a number was called.
const LONGEST_SPACING: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);

/// Environment variables, as a value so that tests pass their own.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    pub fn of_process() -> Self {
        Self(std::env::vars().collect())
    }

    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Takes these where the variable is not set.
    #[must_use]
    pub fn or<'a>(mut self, defaults: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        for (name, value) in defaults {
            self.0.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        self
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Exit code 64. The text names the key, its source and what was expected.
#[derive(Debug, thiserror::Error)]
#[error("bad configuration: {key} (from {from}): {problem}")]
pub struct ConfigError {
    pub key: String,
    /// `default.toml`, a file's path, or the name of an environment variable.
    pub from: String,
    pub problem: String,
}

/// One setting as it is in force.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Setting {
    /// Dotted, e.g. `worker.lease`.
    pub key: String,
    /// Secrets are masked.
    pub value: Value,
    /// `default.toml`, a file's path, or the name of an environment variable.
    pub from: String,
}

/// Every setting in force, in the order of `default.toml`.
pub(super) fn explain(file: Option<&Path>, environment: &Environment) -> Result<Vec<Setting>, ConfigError> {
    let (config, sources) = load_with_sources(file, environment)?;
    let shown = Value::try_from(&config).map_err(|error| config_error("(all)", "default.toml", error))?;
    let mut leaves = Vec::new();
    flatten("", shown.as_table().unwrap_or(&Table::new()), &mut leaves);
    let order = |key: &str| {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        let start = DEFAULTS.find(&format!("[{section}]\n")).unwrap_or(DEFAULTS.len());
        let line = format!("\n{name} = ");
        (start, DEFAULTS[start..].find(&line).unwrap_or(usize::MAX))
    };
    leaves.sort_by_key(|(key, _)| order(key));
    let setting = |(key, value): (String, Value)| Setting { from: source_of(&sources, &key), key, value };
    Ok(leaves.into_iter().map(setting).collect())
}

pub(super) fn load(file: Option<&Path>, environment: &Environment) -> Result<Config, ConfigError> {
    load_with_sources(file, environment).map(|(config, _)| config)
}

type Sources = BTreeMap<String, String>;

fn load_with_sources(file: Option<&Path>, environment: &Environment) -> Result<(Config, Sources), ConfigError> {
    let mut layers = Layers::new()?;
    if let Some(path) = file {
        layers.add_file(path)?;
    }
    layers.add_environment(environment)?;
    let sources = layers.sources;
    let config: Config = serde_path_to_error::deserialize(Value::Table(layers.table)).map_err(|error| {
        let key = error.path().to_string();
        let problem = error.into_inner().to_string().trim().to_owned();
        ConfigError { from: source_of(&sources, &key), key, problem }
    })?;
    check(&config).map_err(|(key, problem)| ConfigError { from: source_of(&sources, &key), key, problem })?;
    Ok((config, sources))
}

struct Layers {
    table: Table,
    /// Dotted key → where its value came from.
    sources: BTreeMap<String, String>,
}

impl Layers {
    fn new() -> Result<Self, ConfigError> {
        let table = DEFAULTS.parse().map_err(|error| config_error("(syntax)", "default.toml", error))?;
        Ok(Self { table, sources: BTreeMap::new() })
    }

    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let from = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| config_error("(file)", &from, error))?;
        let table: Table = text.parse().map_err(|error| config_error("(syntax)", &from, error))?;
        let mut leaves = Vec::new();
        flatten("", &table, &mut leaves);
        leaves.into_iter().try_for_each(|(key, value)| self.set(&key, value, &from))
    }

    fn add_environment(&mut self, environment: &Environment) -> Result<(), ConfigError> {
        for (name, value) in &environment.0 {
            // A setting may itself be a file's name.
            let is_setting = key_of(name).is_some_and(|key| self.existing(&key).is_some());
            let (name, value) = match name.strip_suffix("_FILE") {
                Some(base) if !is_setting && key_of(base).is_some() => (base, read_secret_file(name, value)?),
                _ => (name.as_str(), value.clone()),
            };
            // An empty variable is one that is not set.
            let Some(key) = key_of(name).filter(|_| !value.is_empty()) else { continue };
            let value = self.typed(&key, &value, name)?;
            self.set(&key, value, name)?;
        }
        Ok(())
    }

    /// The variable's text as the type that the default has.
    fn typed(&self, key: &str, text: &str, from: &str) -> Result<Value, ConfigError> {
        let problem = |expected: &str| config_error(key, from, format!("{text:?} is not {expected}"));
        Ok(match self.existing(key) {
            Some(Value::Integer(_)) => Value::Integer(text.trim().parse().map_err(|_| problem("a whole number"))?),
            Some(Value::Float(_)) => Value::Float(text.trim().parse().map_err(|_| problem("a number"))?),
            Some(Value::Boolean(_)) => match text.trim() {
                "true" | "1" | "yes" | "on" => Value::Boolean(true),
                "false" | "0" | "no" | "off" => Value::Boolean(false),
                _ => return Err(problem("true or false")),
            },
            Some(Value::Array(_)) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Value::Array(items.map(|item| Value::String(item.into())).collect())
            }
            _ => Value::String(text.to_owned()),
        })
    }

    fn existing(&self, key: &str) -> Option<&Value> {
        let mut parts = key.split('.');
        let mut value = self.table.get(parts.next()?)?;
        for part in parts {
            value = value.as_table()?.get(part)?;
        }
        Some(value)
    }

    fn set(&mut self, key: &str, value: Value, from: &str) -> Result<(), ConfigError> {
        let mut walked = String::new();
        let mut table = &mut self.table;
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            if !table.contains_key(part) {
                let known = table.keys().map(String::as_str);
                let place = if walked.is_empty() { "section".to_owned() } else { format!("setting in {walked}") };
                let hint = nearest_hint(part, known);
                let all = table.keys().cloned().collect::<Vec<_>>().join(", ");
                return Err(config_error(
                    key,
                    from,
                    format!("unknown {place}: {part:?}{hint}, expected one of: {all}"),
                ));
            }
            if parts.peek().is_none() {
                // A single secret where several are allowed.
                let value = match (&table[part], value) {
                    (Value::Array(_), Value::String(text)) => Value::Array(vec![Value::String(text)]),
                    (_, value) => value,
                };
                table.insert(part.to_owned(), value);
                break;
            }
            if !walked.is_empty() {
                walked.push('.');
            }
            walked.push_str(part);
            table = match table.get_mut(part) {
                Some(Value::Table(inner)) => inner,
                _ => return Err(config_error(key, from, format!("{walked} is a setting, not a section"))),
            };
        }
        self.sources.insert(key.to_owned(), from.to_owned());
        Ok(())
    }
}

/// The setting that an environment variable stands for.
fn key_of(name: &str) -> Option<String> {
    if let Some((_, key)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Some((*key).to_owned());
    }
    let rest = name.strip_prefix("VOXD_")?;
    let excluded = NOT_SETTINGS.contains(&name)
        || NOT_SETTINGS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || is_service_link(name);
    (!excluded).then(|| rest.to_lowercase().replace("__", "."))
}

/// Kubernetes puts the addresses of a namespace's services into every container's environment: for a service `voxd`,
/// `VOXD_SERVICE_HOST`, `VOXD_PORT`, `VOXD_PORT_8000_TCP_ADDR` and so on.
fn is_service_link(name: &str) -> bool {
    let numbered =
        name.split_once("_PORT_").is_some_and(|(_, rest)| rest.starts_with(|first: char| first.is_ascii_digit()));
    numbered
        || name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT") && !name.contains("__")
}

fn read_secret_file(name: &str, path: &str) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(PathBuf::from(path))
        .map_err(|error| config_error(name, name, format!("{path}: {error}")))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn flatten(prefix: &str, table: &Table, leaves: &mut Vec<(String, Value)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => flatten(&key, inner, leaves),
            leaf => leaves.push((key, leaf.clone())),
        }
    }
}

fn source_of(sources: &BTreeMap<String, String>, key: &str) -> String {
    let exact = sources.get(key);
    let below = || sources.iter().find(|(known, _)| key.starts_with(known.as_str())).map(|(_, from)| from);
    exact.or_else(below).cloned().unwrap_or_else(|| "default.toml".into())
}

fn config_error(key: &str, from: &str, problem: impl ToString) -> ConfigError {
    ConfigError { key: key.into(), from: from.into(), problem: problem.to_string() }
}

/// What types alone cannot judge.
fn check(config: &Config) -> Result<(), (String, String)> {
    let fail = |key: &str, problem: String| Err((key.to_owned(), problem));
    if config.worker.roles.is_empty() {
        return fail("worker.roles", "is empty, expected worker, http or both".into());
    }
    if config.worker.max_backlog == 0 {
        return fail("worker.max_backlog", "is 0, expected at least 1".into());
    }
    for (key, value) in [
        ("worker.lease", config.worker.lease),
        ("worker.sweep_interval", config.worker.sweep_interval),
        ("reconcile.listing_interval", config.reconcile.listing_interval),
        ("poller.interval", config.poller.interval),
        ("outcomes.request_timeout", config.outcomes.request_timeout),
        ("outcomes.retry_initial", config.outcomes.retry_initial),
        ("database.deadline", config.database.deadline),
        ("queue.depth_interval", config.queue.depth_interval),
    ] {
        if value.is_zero() {
            return fail(key, "is zero, expected a positive duration".into());
        }
    }
    if config.queue.wait.as_secs() > 20 {
        return fail("queue.wait", format!("is {}, SQS allows at most 20s", duration::format(config.queue.wait)));
    }
    if !config.http.public_url.is_empty() {
        match url::Url::parse(&config.http.public_url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.query().is_none() => {}
            _ => return fail("http.public_url", format!("{:?} is not an http(s) address", config.http.public_url)),
        }
    }
    if !config.outcomes.signing_secret.is_empty()
        && let Err(problem) = super::webhook_signing_key(&config.outcomes.signing_secret)
    {
        return fail("outcomes.signing_secret", problem);
    }
    for country in &config.policy.countries {
        if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return fail("policy.countries", format!("{country:?} is not an ISO 3166 code such as US"));
        }
    }
    if let Some((key, problem)) = config.speech.problem() {
        return fail(&format!("speech.{key}"), problem);
    }
    if let Some((key, problem)) = config.budgets.problem() {
        return fail(&format!("budgets.{key}"), problem);
    }
    if let Some((key, problem)) = config.sessions.problem() {
        return fail(&format!("sessions.{key}"), problem);
    }
    for (name, costs) in &config.costs {
        if let Some((key, problem)) = costs.problem() {
            return fail(&format!("costs.{name}.{key}"), problem);
        }
    }
    for (name, platform) in &config.platforms {
        if platform.max_concurrent_requests == 0 {
            return fail(&format!("platforms.{name}.max_concurrent_requests"), "is 0, expected at least 1".into());
        }
        if !(platform.calls_per_second >= 0.0 && platform.calls_per_second.is_finite()) {
            return fail(
                &format!("platforms.{name}.calls_per_second"),
                "is negative, expected 0 (no limit) or more".into(),
            );
        }
    }
    if config.worker.max_waiting == 0 {
        return fail("worker.max_waiting", "is 0, expected at least 1".into());
    }
    for (name, platform) in &config.platforms {
        if platform.breaker_probe.is_zero() {
            return fail(&format!("platforms.{name}.breaker_probe"), "is zero, expected a positive duration".into());
        }
        if platform.number_spacing > LONGEST_SPACING {
            return fail(&format!("platforms.{name}.number_spacing"), "is longer than 7d".into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::time::Duration;

    fn load_with(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::load(None, &Environment::from_pairs(pairs.iter().copied()))
    }

    #[test]
    fn the_reference_parses_as_it_stands() {
        let config = load_with(&[]).unwrap();
        assert_eq!(config.worker.lease, Duration::from_secs(30));
        assert_eq!(config.reconcile.listing_interval, Duration::from_secs(120));
    }

    #[test]
    fn the_environment_lies_over_the_file_and_the_file_over_the_defaults() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "[worker]\nlease = \"3s\"\nmax_backlog = 7\n").unwrap();
        let environment = Environment::from_pairs([("VOXD_WORKER__MAX_BACKLOG", "9")]);
        let config = Config::load(Some(file.path()), &environment).unwrap();
        assert_eq!((config.worker.lease, config.worker.max_backlog), (Duration::from_secs(3), 9));
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let problem = load_with(&[("VOXD_WORKER__MAX_BACKLOGG", "9")]).unwrap_err().to_string();
        assert!(
            problem.contains("VOXD_WORKER__MAX_BACKLOGG") && problem.contains("did you mean \"max_backlog\"?"),
            "{problem}"
        );
    }

    #[test]
    fn a_value_of_the_wrong_kind_names_key_source_and_expectation() {
        let problem = load_with(&[("VOXD_WORKER__LEASE", "soon")]).unwrap_err();
        assert_eq!((problem.key.as_str(), problem.from.as_str()), ("worker.lease", "VOXD_WORKER__LEASE"));
        assert!(problem.problem.contains("30s"), "{}", problem.problem);
        let problem = load_with(&[("VOXD_WORKER__MAX_BACKLOG", "many")]).unwrap_err();
        assert!(problem.problem.contains("a whole number"), "{}", problem.problem);
    }

    #[test]
    fn a_clusters_service_links_are_no_settings_but_a_misspelt_setting_is_an_error() {
        let links = [
            ("VOXD_SERVICE_HOST", "10.0.0.1"),
            ("VOXD_PORT", "tcp://10.0.0.1:8000"),
            ("VOXD_HTTP_PORT_8000_TCP_ADDR", "10.0.0.1"),
            ("VOXD_SERVICE_PORT_HTTP", "8000"),
        ];
        load_with(&links).unwrap();
        assert!(load_with(&[("VOXD_WORKER_LEASE", "3s")]).is_err());
    }

    #[test]
    fn speech_is_set_by_its_own_names_and_by_googles() {
        let config = load_with(&[
            ("VOXD_SPEECH__GOOGLE__STT_ENDPOINT", "http://127.0.0.1:1"),
            ("GOOGLE_CLOUD_PROJECT", "voices"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/there/is/no/key.json"),
        ])
        .unwrap();
        assert_eq!(config.speech.google.stt_endpoint, "http://127.0.0.1:1");
        assert_eq!(config.speech.google.project, "voices");
        assert_eq!(config.speech.google.credentials_file, std::path::Path::new("/there/is/no/key.json"));
        let problem = load_with(&[("VOXD_SPEECH__GOOGLE__TTS_ENDPOINT", "http://speech.example")]).unwrap_err();
        assert_eq!(problem.key, "speech.google.tts_endpoint");
    }

    #[test]
    fn the_ecosystems_names_are_honoured() {
        let config = load_with(&[
            ("DATABASE_URL", "postgres://u:p@h/d"),
            ("VOXD_QUEUES", "calls=3, other.fifo"),
            ("BLAND_AI_API_KEY", "org_1"),
            ("VOXD_PLATFORMS__BLAND_AI__WEBHOOK_SECRET", "new,old"),
        ])
        .unwrap();
        assert_eq!(config.database.url.expose(), "postgres://u:p@h/d");
        assert_eq!(config.queue.urls, ["calls=3", "other.fifo"]);
        assert_eq!(config.platforms["bland_ai"].webhook_secret.len(), 2);
    }

    #[test]
    fn the_settings_in_force_are_told_with_their_sources_and_without_secrets() {
        let environment = Environment::from_pairs([("BLAND_AI_API_KEY", "org_secret"), ("VOXD_WORKER__LEASE", "3s")]);
        let settings = Config::explain(None, &environment).unwrap();
        let of = |key: &str| settings.iter().find(|setting| setting.key == key).unwrap();
        assert_eq!(
            (of("worker.lease").value.as_str(), of("worker.lease").from.as_str()),
            (Some("3s"), "VOXD_WORKER__LEASE")
        );
        assert_eq!(of("worker.max_backlog").from, "default.toml");
        let key = of("platforms.bland_ai.api_key");
        assert_eq!((key.value.as_str(), key.from.as_str()), (Some("[secret]"), "BLAND_AI_API_KEY"));
        assert!(!format!("{settings:?}").contains("org_secret"));
        let reference: Table = DEFAULTS.parse().unwrap();
        let mut all = Vec::new();
        flatten("", &reference, &mut all);
        assert_eq!(settings.len(), all.len(), "every setting once");
        assert_eq!(settings[0].key, "worker.roles", "in the order of the reference");
    }

    #[test]
    fn a_setting_that_is_a_files_name_is_no_secret_to_be_read() {
        let config = load_with(&[("VOXD_POLICY__RULES_FILE", "/there/is/no/such.toml")]).unwrap();
        assert_eq!(config.policy.rules_file, std::path::Path::new("/there/is/no/such.toml"));
    }

    #[test]
    fn secrets_are_read_from_files_and_never_print() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "org_secret").unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let config = load_with(&[("BLAND_AI_API_KEY_FILE", &path)]).unwrap();
        assert_eq!(config.platforms["bland_ai"].api_key.expose(), "org_secret");
        let printed = format!("{config:?}{}", toml::to_string(&config).unwrap());
        assert!(!printed.contains("org_secret"));
    }
}
