//! `voxd simulate`

use clap::Args;
use serde_json::json;
use uuid::Uuid;

use super::{CommandError, out};
use crate::dev::ports;
use crate::lifecycle::Lifecycle;
use crate::sim::google::{GoogleOptions, GoogleSim, SpeakingOptions};
use crate::sim::platform::{SimOptions, Simulator};
use crate::sim::sqs::{SqsOptions, SqsServer};
use crate::sim::{self, PLATFORMS};

const AFTER_HELP: &str = "\
Examples:
  voxd simulate                         prints the environment that points others at it
  voxd simulate --sqs-port 9324 --queue calls --queue orders.fifo
  voxd simulate --fast --json           calls end at once; one line of JSON, for a test's set-up
  voxd simulate --webhooks http://127.0.0.1:8000
                                        webhooks of platforms that take no address per call go to voxd there

What a call does is chosen by the last four digits of its number: 0100 completed, 0101 no answer, 0102 busy, \
0103 voicemail, 0110 invalid number, 0122 a 504 although the call was made. Each simulated platform shows what it was asked \
at /_voxd/ (a page; a table for curl) and at /_voxd/journal (JSON). The simulated Google Speech (gRPC) speaks tones that carry \
text and hears them; other speech it answers with its length. Ends at Ctrl-C and keeps nothing.";

/// Simulated platforms, Google Speech and SQS alone, for a producer's own tests
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Simulate {
    /// Local SQS; 0: any free port
    #[arg(long, default_value_t = 8001)]
    sqs_port: u16,
    /// The first simulated platform (Bland AI), the others and Google Speech at the next ones; 0: any free ports
    #[arg(long, default_value_t = 8002)]
    bland_port: u16,
    /// The simulated Google speaks with espeak-ng, which must be installed, instead of in tones
    #[arg(long)]
    aloud: bool,
    /// Where voxd listens, for webhooks of calls that bring no address of their own (ElevenLabs' have none)
    #[arg(long, value_name = "URL")]
    webhooks: Option<url::Url>,
    /// Queues to make, each with a dead-letter queue NAME-dlq
    #[arg(long, default_value = "calls", value_name = "NAME")]
    queue: Vec<String>,
    /// Calls end at once instead of within seconds
    #[arg(long)]
    fast: bool,
    /// Print the addresses as one line of JSON
    #[arg(long)]
    json: bool,
}

impl Simulate {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let lifecycle = Lifecycle::new();
        lifecycle.stop_on_signals().map_err(|error| CommandError::Failed(format!("signals: {error}")))?;
        let listener = ports::listen(self.sqs_port, "--sqs-port").await.map_err(CommandError::Unavailable)?;
        let failed = |error: std::io::Error| CommandError::Failed(error.to_string());
        // Another seed each time: SQS never gives a message id twice.
        let seed = Uuid::new_v4().as_u64_pair().0;
        let sqs = SqsServer::start(listener, SqsOptions { seed, ..SqsOptions::default() }).map_err(failed)?;
        for queue in &self.queue {
            sqs.ensure_queue(queue, 5).map_err(|problem| CommandError::Usage(format!("--queue: {problem}")))?;
        }
        let listeners = ports::listen_from(self.bland_port, PLATFORMS.len() + 1, "--bland-port").await;
        let mut listeners = listeners.map_err(CommandError::Unavailable)?.into_iter();
        let options = if self.fast { SimOptions::default() } else { SimOptions::for_people() };
        let mut sims = Vec::new();
        for ((name, start), listener) in PLATFORMS.iter().zip(listeners.by_ref()) {
            let sim = start(listener, options.clone()).map_err(failed)?;
            let base = self.webhooks.as_ref().map(|url| url.as_str().trim_end_matches('/'));
            sim.set_account_webhook(base.map(|base| format!("{base}/webhooks/{name}")));
            sims.push(sim);
        }
        let speaking = SpeakingOptions { aloud: self.aloud, ..SpeakingOptions::default() };
        let google = listeners
            .next()
            .map(|listener| GoogleSim::start(listener, GoogleOptions { speaking, seed, ..GoogleOptions::default() }));
        let google = google.transpose().map_err(failed)?;
        let mut environment = vec![
            ("AWS_ENDPOINT_URL_SQS".to_owned(), sqs.endpoint()),
            ("AWS_REGION".to_owned(), "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID".to_owned(), "simulated".to_owned()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), "simulated".to_owned()),
            ("VOXD_QUEUES".to_owned(), self.queue.join(",")),
        ];
        environment.extend(sims.iter().flat_map(|sim| sim.environment()));
        environment.extend(google.iter().flat_map(GoogleSim::environment));
        let speech = google.as_ref().map(GoogleSim::endpoint).unwrap_or_default();
        if self.json {
            self.tell_json(&sqs, &sims, &speech, environment)?
        } else {
            tell(&sqs, &sims, &speech, &environment)?
        }
        lifecycle.stopping().await;
        if let Some(google) = google {
            google.stop().await;
        }
        for sim in sims {
            sim.stop().await;
        }
        sqs.shutdown().await.map_err(failed)
    }

    fn tell_json(
        &self,
        sqs: &SqsServer,
        sims: &[Box<dyn Simulator>],
        speech: &str,
        environment: Vec<(String, String)>,
    ) -> Result<(), CommandError> {
        let platforms = sims.iter().map(|sim| {
            let options = sim.options();
            let told = json!({
                "base_url": sim.base_url(), "api_key": options.api_key, "webhook_secret": options.webhook_secret,
                "page": sim::page(sim.as_ref()), "voice_config": sim.voice_config(),
            });
            (sim.name().to_owned(), told)
        });
        let platforms: serde_json::Map<_, _> = platforms.collect();
        let environment: serde_json::Map<_, _> =
            environment.into_iter().map(|(name, value)| (name, value.into())).collect();
        out::line(json!({ "sqs": sqs.endpoint(), "platforms": platforms, "google_speech": speech, "environment": environment }).to_string())
    }
}

fn tell(
    sqs: &SqsServer,
    sims: &[Box<dyn Simulator>],
    speech: &str,
    environment: &[(String, String)],
) -> Result<(), CommandError> {
    eprintln!("Local SQS at {}. Simulated platforms, and where they show what they were asked:\n", sqs.endpoint());
    for sim in sims {
        eprintln!("  {:<12} {}", sim.name(), sim::page(sim.as_ref()));
    }
    eprintln!("\nSimulated Google Speech (gRPC) at {speech}.");
    eprintln!("\nCopy into another terminal:\n");
    for (name, value) in environment {
        out::line(format!("export {name}={value}"))?;
    }
    eprintln!("\nCtrl-C ends it.");
    Ok(())
}
