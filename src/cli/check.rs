//! `voxd check`: what would happen to these events, without anything happening.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::events::{self, Event};
use super::paint::Paint;
use super::{CommandError, Context, out};
use crate::call::policy::Hold;
use crate::call::{CallStatus, FieldError, VoiceConfig};
use crate::clock;
use crate::config::{Config, Secret};
use crate::delivery::{Admission, UnknownConfig, VoiceDelivery, policy};
use crate::job::{self, CallData, Job, JobKind, VoiceConfigRef};
use crate::platforms::{Encoding, PlatformRegistry, RequestPreview};
use crate::store::accept::NewCall;

const AFTER_HELP: &str = "\
Examples:
  voxd check events.json                validates, and prints each event's request
  voxd check - --json < events.jsonl    the same for programs
  voxd check events.json --voice-configs configs.json
  voxd check events.json --stored       takes named voice configurations from the database
  voxd check --config                   all settings in force, and where each one comes from
  voxd check --config voxd.toml         the same with a file laid over the defaults

Calls nobody and needs no API key. Attempt and call ids are zeros here; each attempt gets its own.
Exits with 1 when an event would be refused, or one of its fallback platforms would refuse it.";

/// Validates job events and prints the exact request each would send; or shows the settings
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Check {
    /// JSON (one or an array) or JSON lines; - for standard input
    file: Option<PathBuf>,
    /// Named voice configurations: a JSON object, name → configuration
    #[arg(long, value_name = "FILE")]
    voice_configs: Option<PathBuf>,
    /// Take named voice configurations from the database
    #[arg(long, conflicts_with = "voice_configs")]
    stored: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What would become of one event.
#[derive(Debug, Serialize)]
struct Finding {
    /// Its place in the input, from 1.
    n: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    event_type: Option<&'static str>,
    ok: bool,
    /// What it would be: a call's first status, `accepted` for other jobs, or `rejected`.
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// When it would be called, and the rule that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<Hold>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<FieldError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
    /// What each further platform would get, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fallbacks: Vec<Fallback>,
}

/// What a fallback platform would get.
#[derive(Debug, Serialize)]
struct Fallback {
    platform: String,
    /// Pointers are into the fallback's own configuration, or into the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<FieldError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
}

#[derive(Debug, Serialize)]
struct Request {
    platform: String,
    #[serde(flatten)]
    preview: RequestPreview,
    body: Value,
    /// The body as it goes out, where it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<String>,
}

impl Check {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let Some(file) = &self.file else {
            if context.show_settings || context.file.is_some() {
                return show_settings(context, self.json);
            }
            return Err(CommandError::Usage("check what? give FILE, or --config to see the settings".into()));
        };
        let mut config = context.config()?;
        let events = events::read(file)?;
        let named = self.named_configs(context, &config, &events).await?;
        let without_key = give_dummy_keys(&mut config);
        let voice = VoiceDelivery::new(PlatformRegistry::from_config(&config), &config)
            .map_err(|problem| CommandError::BadConfiguration(format!("bad configuration: {problem}")))?;
        let findings: Vec<Finding> = events.iter().map(|event| find(event, &voice, &named)).collect();
        self.report(&findings)?;
        for platform in &without_key {
            let requests = findings.iter().flat_map(|finding| {
                finding.request.iter().chain(finding.fallbacks.iter().filter_map(|fallback| fallback.request.as_ref()))
            });
            if requests.into_iter().any(|request| request.platform == *platform) {
                eprintln!("note: {platform} has no API key here; a daemon without it refuses jobs that name it");
            }
        }
        let refused = findings.iter().filter(|finding| !finding.ok).count();
        let refuses = |finding: &&Finding| finding.fallbacks.iter().any(|fallback| fallback.request.is_none());
        let by_a_fallback = findings.iter().filter(refuses).count();
        let all = findings.len();
        match (refused, by_a_fallback) {
            (0, 0) => Ok(()),
            (0, some) => {
                Err(CommandError::Failed(format!("{some} of {all} events would be refused by a fallback platform")))
            }
            (bad, 0) => Err(CommandError::Failed(format!("{bad} of {all} events would be refused"))),
            (bad, some) => Err(CommandError::Failed(format!(
                "{bad} of {all} events would be refused, and {some} by a fallback platform"
            ))),
        }
    }

    fn report(&self, findings: &[Finding]) -> Result<(), CommandError> {
        if self.json {
            return out::json(&findings);
        }
        let paint = Paint::for_stream(&std::io::stdout());
        for (n, finding) in findings.iter().enumerate() {
            if n > 0 {
                out::line("")?;
            }
            out::line(text(finding, paint))?;
        }
        Ok(())
    }

    async fn named_configs(
        &self,
        context: &Context,
        config: &Config,
        events: &[Event],
    ) -> Result<BTreeMap<String, VoiceConfig>, CommandError> {
        if let Some(file) = &self.voice_configs {
            let name = file.display();
            let text =
                std::fs::read_to_string(file).map_err(|error| CommandError::Usage(format!("{name}: {error}")))?;
            return serde_json::from_str(&text).map_err(|error| CommandError::Failed(format!("{name}: {error}")));
        }
        if !self.stored {
            return Ok(BTreeMap::new());
        }
        let names: Vec<String> = events.iter().filter_map(|event| config_name(&event.text)).collect();
        let stored = context.store(config).await?.voice_configs_by_name(&names).await?;
        let read = |(name, config): (String, Result<VoiceConfig, String>)| match config {
            Ok(config) => Ok((name, config)),
            Err(problem) => {
                Err(CommandError::Failed(format!("the stored voice configuration {name:?} cannot be read: {problem}")))
            }
        };
        stored.into_iter().map(read).collect()
    }
}

fn config_name(event: &str) -> Option<String> {
    match job::parse(event.as_bytes()).ok()?.kind {
        JobKind::Call(data) => match data.voice_config {
            VoiceConfigRef::Name(name) => Some(name),
            VoiceConfigRef::Inline(_) => None,
        },
        _ => None,
    }
}

/// Formatting needs no key, but a platform without one is off. Returns those that had none.
pub(super) fn give_dummy_keys(config: &mut Config) -> Vec<String> {
    let without = config.platforms.iter_mut().filter(|(_, platform)| platform.api_key.is_empty());
    without
        .map(|(name, platform)| {
            platform.api_key = Secret::new("checking-without-a-key");
            name.clone()
        })
        .collect()
}

fn find(event: &Event, voice: &VoiceDelivery, named: &BTreeMap<String, VoiceConfig>) -> Finding {
    let mut finding = Finding {
        n: event.n,
        source: None,
        id: None,
        event_type: None,
        ok: true,
        result: "accepted",
        reason: None,
        detail: None,
        hold: None,
        problems: Vec::new(),
        request: None,
        fallbacks: Vec::new(),
    };
    match job::parse(event.text.as_bytes()) {
        Ok(job) => {
            finding.source = Some(job.key.source.clone());
            finding.id = Some(job.key.id.clone());
            finding.event_type = Some(job.kind.event_type());
            if let JobKind::Call(_) = &job.kind {
                find_call(&mut finding, &job, voice, named);
            }
        }
        Err(rejection) => {
            finding.source = rejection.source;
            finding.id = rejection.event_id;
            refuse(&mut finding, rejection.reason.as_str(), &rejection.detail);
            finding.problems.push(FieldError::new(rejection.field_path, rejection.detail));
        }
    }
    finding
}

fn refuse(finding: &mut Finding, reason: &str, detail: &str) {
    (finding.ok, finding.result) = (false, "rejected");
    (finding.reason, finding.detail) = (Some(reason.to_owned()), Some(detail.to_owned()));
}

fn find_call(finding: &mut Finding, job: &Job, voice: &VoiceDelivery, named: &BTreeMap<String, VoiceConfig>) {
    let JobKind::Call(data) = &job.kind else { return };
    let voice_config = match &data.voice_config {
        VoiceConfigRef::Inline(config) => Ok((**config).clone()),
        VoiceConfigRef::Name(name) => named.get(name).cloned().ok_or_else(|| UnknownConfig(name.clone())),
    };
    if let Err(UnknownConfig(name)) = &voice_config {
        let detail = format!("voice configuration {name:?} is not known here: give --voice-configs FILE or --stored");
        return refuse(finding, "unknown_voice_config", &detail);
    }
    let now = clock::now();
    let admission = Admission { voice_config, source: "check", tenant: None, order: None, now };
    let call = voice.prepare(job, data, admission);
    finding.result = call.status.as_str();
    finding.reason = call.status_reason.clone();
    finding.detail = call.status_detail.clone();
    finding.ok = !matches!(call.status, CallStatus::Rejected | CallStatus::Expired);
    finding.hold = policy::explain_new(voice.policy(), &call, now);
    match request(voice, &call, data, &call.platform) {
        Ok(request) if finding.ok => finding.request = Some(request),
        Err(problems) if !finding.ok => finding.problems = problems,
        _ => {}
    }
    if finding.ok {
        let of = |platform: &String| match request(voice, &call, data, platform) {
            Ok(request) => Fallback { platform: platform.clone(), problems: Vec::new(), request: Some(request) },
            Err(problems) => Fallback { platform: platform.clone(), problems, request: None },
        };
        finding.fallbacks = call.request.voice_config.fallback_platforms.iter().map(of).collect();
    }
}

/// What `platform` would get.
fn request(voice: &VoiceDelivery, call: &NewCall, data: &CallData, platform: &str) -> Result<Request, Vec<FieldError>> {
    let (to, metadata) = (data.lead.phone_number.clone(), data.metadata.clone());
    let request = voice.call_request(&call.request, Uuid::nil(), Uuid::nil(), platform, to, metadata);
    let payload = voice.payload(platform, &request)?;
    let preview = match voice.registry().get(platform) {
        Ok(platform) => platform.preview(&payload),
        Err(unavailable) => return Err(vec![FieldError::new("/platform", unavailable.to_string())]),
    };
    let form = match payload.encoding {
        Encoding::Json => None,
        Encoding::Form => Some(String::from_utf8_lossy(&payload.encode().0).into_owned()),
    };
    Ok(Request { platform: platform.to_owned(), preview, body: Value::Object(payload.fields), form })
}

fn text(finding: &Finding, paint: Paint) -> String {
    let name = match (&finding.source, &finding.id) {
        (_, None) => "(unnamed)".to_owned(),
        (source, Some(id)) => format!("{}/{id}", source.as_deref().unwrap_or_default()),
    };
    let result = if finding.ok { paint.good(finding.result) } else { paint.bad(finding.result) };
    let mut lines = vec![format!("{} {name}: {result}", paint.dim(&format!("#{}", finding.n)))];
    if let Some(hold) = &finding.hold {
        lines.push(format!("  {}", paint.bold(&hold.text)));
    } else if let Some(reason) = &finding.reason {
        // The problems say it all, each with its place.
        let detail = finding.detail.as_ref().filter(|_| finding.problems.is_empty());
        let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        lines.push(format!("  {reason}{detail}"));
    }
    lines.extend(finding.problems.iter().map(|problem| format!("  at {}", paint.bold(&problem.to_string()))));
    if let Some(request) = &finding.request {
        lines.extend(request_lines(request));
    } else if finding.ok {
        lines.push(format!("  {} (makes no request by itself)", finding.event_type.unwrap_or_default()));
    }
    for fallback in &finding.fallbacks {
        lines.push(String::new());
        let refuses = if fallback.request.is_none() { paint.bad(", which would refuse it") } else { String::new() };
        lines.push(format!("  {} {}{refuses}", paint.bold("then, on refusal or proven non-send:"), fallback.platform));
        lines.extend(fallback.problems.iter().map(|problem| format!("  at {}", paint.bold(&problem.to_string()))));
        lines.extend(fallback.request.iter().flat_map(request_lines));
    }
    lines.join("\n")
}

fn request_lines(request: &Request) -> Vec<String> {
    let mut lines = vec![format!("  {} {}", request.preview.method, request.preview.url)];
    lines.extend(request.preview.headers.iter().map(|(name, value)| format!("  {name}: {value}")));
    lines.push(String::new());
    let body = request.form.clone().or_else(|| serde_json::to_string_pretty(&request.body).ok());
    lines.extend(body.unwrap_or_default().lines().map(|line| format!("  {line}")));
    lines
}

fn show_settings(context: &Context, json: bool) -> Result<(), CommandError> {
    let settings = Config::explain(context.file.as_deref(), &context.environment)?;
    if json {
        return out::json(&settings);
    }
    let paint = Paint::for_stream(&std::io::stdout());
    let rows: Vec<Vec<String>> = settings
        .iter()
        .map(|setting| {
            let changed = setting.from != "default.toml";
            let from = if changed { paint.bold(&setting.from) } else { paint.dim("default") };
            vec![setting.key.clone(), setting.value.to_string(), from]
        })
        .collect();
    out::line(out::table(&rows))
}
