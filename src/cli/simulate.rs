//! `voxd simulate`

use clap::Args;
use serde_json::json;
use uuid::Uuid;

use super::{CommandError, out};
use crate::dev::ports;
use crate::lifecycle::Lifecycle;
use crate::sim::bland::{BlandOptions, BlandSim};
use crate::sim::sqs::{SqsOptions, SqsServer};

const AFTER_HELP: &str = "\
Examples:
  voxd simulate                         prints the environment that points others at it
  voxd simulate --sqs-port 9324 --queue calls --queue orders.fifo
  voxd simulate --fast --json           calls end at once; one line of JSON, for a test's set-up

What a call does is chosen by the last four digits of its number: 0100 completed, 0101 no answer, 0102 busy, \
0103 voicemail, 0110 invalid number, 0122 a 504 although the call was made. The simulated Bland AI shows what it was asked \
at /_voxd/journal. Ends at Ctrl-C and keeps nothing.";

/// The simulated platforms and the local SQS alone, for a producer's own tests
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Simulate {
    /// Local SQS; 0: any free port
    #[arg(long, default_value_t = 8001)]
    sqs_port: u16,
    /// Simulated Bland AI; 0: any free port
    #[arg(long, default_value_t = 8002)]
    bland_port: u16,
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
        let listener = ports::listen(self.bland_port, "--bland-port").await.map_err(CommandError::Unavailable)?;
        let options = if self.fast { BlandOptions::default() } else { BlandOptions::for_people() };
        let (api_key, webhook_secret) = (options.api_key.clone(), options.webhook_secret.clone());
        let bland = BlandSim::start(listener, options).map_err(failed)?;
        let environment = [
            ("AWS_ENDPOINT_URL_SQS", sqs.endpoint()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "simulated".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "simulated".to_owned()),
            ("VOXD_QUEUES", self.queue.join(",")),
            ("VOXD_PLATFORMS__BLAND_AI__BASE_URL", bland.base_url()),
            ("BLAND_AI_API_KEY", api_key),
            ("VOXD_PLATFORMS__BLAND_AI__WEBHOOK_SECRET", webhook_secret),
        ];
        if self.json {
            let environment: serde_json::Map<_, _> =
                environment.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            out::line(
                json!({ "sqs": sqs.endpoint(), "bland_ai": bland.base_url(), "environment": environment }).to_string(),
            )?;
        } else {
            eprintln!(
                "Local SQS at {}, simulated Bland AI at {}. Copy into another terminal:\n",
                sqs.endpoint(),
                bland.base_url()
            );
            for (name, value) in environment {
                out::line(format!("export {name}={value}"))?;
            }
            eprintln!("\nCtrl-C ends it.");
        }
        lifecycle.stopping().await;
        bland.shutdown().await;
        sqs.shutdown().await.map_err(failed)
    }
}
