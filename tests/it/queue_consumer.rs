//! The queue consumer against the local SQS, through its front door.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use voxd::clock;
use voxd::job::{RejectReason, Rejection};
use voxd::lifecycle::Lifecycle;
use voxd::queue::{
    Attribute, Backlog, BatchHandler, Consumer, ConsumerOptions, Disposition, Message, Outgoing, Permit, Producer,
    QueueInfo, QueueTarget, Redrive, ResolveError, Sqs, SqsOptions,
};
use voxd::sim::sqs::{ErrorKind, Fault, Faults, Operation, Rule, SqsOptions as ServerOptions, SqsServer};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server with queues, and a client for it.
struct World {
    server: SqsServer,
    sqs: Sqs,
}

impl World {
    async fn new() -> Self {
        Self::with_wait(Duration::from_secs(1)).await
    }

    async fn with_wait(wait: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = SqsServer::start(listener, ServerOptions::default()).unwrap();
        let sqs = client(&server, wait).await;
        Self { server, sqs }
    }

    /// Creates a queue with its dead-letter queue, and resolves it.
    async fn queue(&self, name: &str) -> QueueInfo {
        let (stem, fifo) = match name.strip_suffix(".fifo") {
            Some(stem) => (stem, ".fifo"),
            None => (name, ""),
        };
        let dlq = format!("{stem}-dlq{fifo}");
        self.create(&dlq, &[]).await;
        let arn = format!("arn:aws:sqs:us-east-1:000000000000:{dlq}");
        let policy = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":5}}"#);
        self.create(name, &[("RedrivePolicy", &policy)]).await;
        self.sqs.resolve(&name.parse().unwrap()).await.unwrap()
    }

    async fn create(&self, name: &str, attributes: &[(&str, &str)]) {
        let mut all: BTreeMap<&str, &str> = attributes.iter().copied().collect();
        if name.ends_with(".fifo") {
            all.insert("FifoQueue", "true");
        }
        let body = serde_json::json!({ "QueueName": name, "Attributes": all });
        let request = reqwest::Client::new()
            .post(self.server.endpoint())
            .header("X-Amz-Target", "AmazonSQS.CreateQueue")
            .header("Content-Type", "application/x-amz-json-1.0")
            .body(body.to_string());
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    fn producer(&self, queue: &QueueInfo) -> Producer {
        Producer::new(self.sqs.clone(), &queue.url)
    }

    async fn send(&self, queue: &QueueInfo, bodies: impl IntoIterator<Item = String>) {
        let messages: Vec<_> = bodies
            .into_iter()
            .map(|body| Outgoing { group_id: queue.fifo.then(|| "g".into()), ..Outgoing::new(body) })
            .collect();
        assert!(self.producer(queue).send(&messages, |_| {}).await.iter().all(Result::is_ok));
    }

    async fn all_gone(&self, queue: &QueueInfo) {
        until("the queue is empty", async || {
            let depth = self.sqs.depth(&queue.url).await.unwrap();
            depth.visible + depth.in_flight + depth.delayed == 0
        })
        .await;
    }

    fn requests(&self, operation: Operation) -> u64 {
        self.server.stats().of(operation).requests
    }
}

async fn client(server: &SqsServer, wait: Duration) -> Sqs {
    let options = SqsOptions {
        wait,
        visibility: Duration::from_secs(30),
        request_timeout: Duration::from_secs(5),
        region: Some("us-east-1".into()),
        endpoint: Some(server.endpoint()),
        credentials: Some(("test".into(), "test".into())),
    };
    Sqs::connect(options).await.unwrap()
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = clock::monotonic() + PATIENCE;
    while !condition().await {
        assert!(clock::monotonic() < deadline, "waited in vain until {what}");
        clock::sleep(Duration::from_millis(10)).await;
    }
}

type Decide = dyn Fn(&Message) -> Disposition + Send + Sync;

/// Tells what it gets, waits for a slot where a body is `slow`, and decides by a function.
struct Handler {
    seen: mpsc::UnboundedSender<String>,
    decide: Box<Decide>,
    slow: Semaphore,
    kept: Mutex<Vec<Permit>>,
    keep: bool,
    batches: AtomicUsize,
}

#[async_trait]
impl BatchHandler for Handler {
    async fn handle(&self, mut batch: Vec<Message>) -> Vec<Disposition> {
        self.batches.fetch_add(1, SeqCst);
        if batch.iter().any(|message| message.body.starts_with("slow")) {
            self.slow.acquire().await.unwrap().forget();
        }
        for message in &mut batch {
            self.seen.send(message.body.clone()).unwrap();
            if self.keep {
                self.kept.lock().unwrap().extend(message.take_permit());
            }
        }
        batch.iter().map(|message| (self.decide)(message)).collect()
    }
}

struct Running {
    handler: Arc<Handler>,
    seen: mpsc::UnboundedReceiver<String>,
    gate: watch::Sender<bool>,
    lifecycle: Lifecycle,
    consumer: Consumer,
    backlog: Backlog,
}

struct Setup {
    backlog: usize,
    keep: bool,
    max_pollers: usize,
    gate: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { backlog: 100, keep: false, max_pollers: 4, gate: true }
    }
}

impl Running {
    fn start(
        world: &World,
        queues: Vec<QueueInfo>,
        setup: Setup,
        decide: impl Fn(&Message) -> Disposition + Send + Sync + 'static,
    ) -> Self {
        let (seen, reader) = mpsc::unbounded_channel();
        let handler = Arc::new(Handler {
            seen,
            decide: Box::new(decide),
            slow: Semaphore::new(0),
            kept: Mutex::default(),
            keep: setup.keep,
            batches: AtomicUsize::new(0),
        });
        let (gate, gate_reader) = watch::channel(setup.gate);
        let lifecycle = Lifecycle::new();
        let backlog = Backlog::new(setup.backlog);
        let options = ConsumerOptions::new(setup.max_pollers, Duration::from_secs(1), 7);
        let consumer =
            Consumer::start(&world.sqs, queues, &backlog, handler.clone(), gate_reader, &options, &lifecycle);
        Self { handler, seen: reader, gate, lifecycle, consumer, backlog }
    }

    async fn next(&mut self) -> String {
        tokio::time::timeout(PATIENCE, self.seen.recv()).await.expect("a message").unwrap()
    }

    async fn next_n(&mut self, n: usize) -> Vec<String> {
        let mut bodies = Vec::new();
        for _ in 0..n {
            bodies.push(self.next().await);
        }
        bodies
    }

    async fn stop(self) {
        assert!(self.lifecycle.drain(Duration::from_secs(15)).await, "it did not stop in time");
        assert_eq!(self.lifecycle.failure(), None);
    }
}

fn accept(_: &Message) -> Disposition {
    Disposition::Delete { result: "accepted" }
}

fn rejection() -> Rejection {
    Rejection {
        reason: RejectReason::Schema,
        field_path: "/data/lead".into(),
        detail: "is missing, expected an object".into(),
        source: None,
        event_id: None,
    }
}

fn numbered(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|n| format!("job-{n}"))
}

#[tokio::test]
async fn a_full_queue_costs_two_requests_for_ten_messages() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    world.send(&queue, numbered(0..500)).await;
    world.server.reset_stats();
    let mut running = Running::start(&world, vec![queue.clone()], Setup { backlog: 500, ..Setup::default() }, accept);
    let mut bodies = running.next_n(500).await;
    running.stop().await;
    bodies.sort_unstable();
    bodies.dedup();
    assert_eq!(bodies.len(), 500);
    let (receives, deletes) =
        (world.requests(Operation::ReceiveMessage), world.requests(Operation::DeleteMessageBatch));
    let empty = world.server.stats().of(Operation::ReceiveMessage).empty;
    assert_eq!(deletes, 50);
    assert!(receives - empty <= 52 && empty <= 5, "{receives} receives, {empty} of them empty");
    world.all_gone(&queue).await;
}

#[tokio::test]
async fn a_slow_batch_holds_up_nobody() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    world.send(&queue, ["slow".to_owned()]).await;
    let mut running = Running::start(&world, vec![queue.clone()], Setup::default(), accept);
    until("the slow one is in the handler", async || running.handler.batches.load(SeqCst) == 1).await;
    world.send(&queue, numbered(0..40)).await;
    let bodies = running.next_n(40).await;
    assert!(bodies.iter().all(|body| body.starts_with("job-")));
    running.handler.slow.add_permits(1);
    assert_eq!(running.next().await, "slow");
    running.stop().await;
    world.all_gone(&queue).await;
}

#[tokio::test]
async fn one_bad_message_does_not_delay_its_batch_and_its_copy_is_exact() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    let body = "{\"odd\":  \"bytes \u{fc}\\u0041\"}\n";
    let attributes = BTreeMap::from([
        ("traceparent".to_owned(), Attribute::string("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
        ("count".to_owned(), Attribute::Text { data_type: "Number.int".into(), value: "7".into() }),
        ("raw".to_owned(), Attribute::Binary { data_type: "Binary".into(), value: vec![0, 255, 10] }),
    ]);
    let mut messages: Vec<_> = numbered(0..9).map(Outgoing::new).collect();
    messages.insert(4, Outgoing { attributes: attributes.clone(), ..Outgoing::new(body) });
    assert!(world.producer(&queue).send(&messages, |_| {}).await.iter().all(Result::is_ok));

    let running = Running::start(&world, vec![queue.clone()], Setup::default(), |message| {
        if message.body.starts_with('{') { Disposition::Reject(rejection()) } else { accept(message) }
    });
    world.all_gone(&queue).await;
    running.stop().await;

    let dlq = queue.dead_letter.clone().unwrap();
    let letters = world.sqs.peek(&queue, &dlq, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!(letter.reason.as_deref(), Some("schema"));
    assert_eq!(letter.detail.as_deref(), Some("/data/lead: is missing, expected an object"));
    assert_eq!(letter.message.body, body);
    for (name, value) in &attributes {
        assert_eq!(&letter.message.attributes[name], value, "{name}");
    }
    assert_eq!(letter.message.attributes.len(), attributes.len() + 2);
}

#[tokio::test]
async fn a_message_whose_dead_letter_cannot_be_written_stays() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    world.send(&queue, ["bad".to_owned(), "good".to_owned()]).await;
    world.server.set_faults(Faults {
        rules: vec![Rule::on(Operation::SendMessageBatch, Fault::Error(ErrorKind::AccessDenied)).queue("jobs-dlq")],
    });
    let running =
        Running::start(&world, vec![queue.clone()], Setup::default(), |message| match message.body.as_str() {
            "bad" => Disposition::Reject(rejection()),
            _ => accept(message),
        });
    until("the good one is gone and the bad one is put off", async || {
        world.requests(Operation::ChangeMessageVisibilityBatch) == 1
            && world.server.stats().of(Operation::DeleteMessageBatch).messages == 1
    })
    .await;
    running.stop().await;
    let depth = world.sqs.depth(&queue.url).await.unwrap();
    assert_eq!(
        (depth.visible + depth.in_flight, world.server.stats().of(Operation::DeleteMessageBatch).messages),
        (1, 1)
    );
}

#[tokio::test]
async fn deletes_that_fail_one_by_one_are_tried_again() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    world.send(&queue, numbered(0..30)).await;
    world.server.set_faults(Faults {
        rules: vec![
            Rule::on(Operation::DeleteMessageBatch, Fault::FailEntries(ErrorKind::InternalError))
                .probability(0.5)
                .next(6),
            Rule::on(Operation::DeleteMessageBatch, Fault::DropAfter).probability(0.2),
        ],
    });
    let mut running = Running::start(&world, vec![queue.clone()], Setup::default(), accept);
    running.next_n(30).await;
    world.all_gone(&queue).await;
    assert!(running.seen.try_recv().is_err(), "a message came twice");
    running.stop().await;
}

#[tokio::test]
async fn messages_that_are_left_come_again_later() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    world.send(&queue, ["again".to_owned()]).await;
    let mut running =
        Running::start(&world, vec![queue.clone()], Setup::default(), |message| match message.receive_count {
            1 => Disposition::Leave { after: Duration::from_millis(100) },
            _ => accept(message),
        });
    assert_eq!(running.next_n(2).await, ["again", "again"]);
    world.all_gone(&queue).await;
    running.stop().await;
}

#[tokio::test]
async fn a_handler_that_panics_leaves_its_batch_and_the_rest_goes_on() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    world.send(&queue, ["boom".to_owned()]).await;
    let mut running = Running::start(&world, vec![queue.clone()], Setup::default(), |message| {
        assert!(message.body != "boom", "a bug in the handler");
        accept(message)
    });
    assert_eq!(running.next().await, "boom");
    until("the batch is put off", async || world.requests(Operation::ChangeMessageVisibilityBatch) == 1).await;
    world.send(&queue, ["good".to_owned()]).await;
    assert_eq!(running.next().await, "good");
    running.stop().await;
    let depth = world.sqs.depth(&queue.url).await.unwrap();
    assert_eq!(depth.visible + depth.in_flight, 1);
}

#[tokio::test]
async fn a_full_backlog_stops_receiving_until_there_is_room() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    world.send(&queue, numbered(0..50)).await;
    let setup = Setup { backlog: 20, keep: true, ..Setup::default() };
    let mut running = Running::start(&world, vec![queue.clone()], setup, accept);
    running.next_n(20).await;
    let receives = world.requests(Operation::ReceiveMessage);
    clock::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.requests(Operation::ReceiveMessage), receives);
    assert_eq!((running.backlog.held(), world.sqs.depth(&queue.url).await.unwrap().visible), (20, 30));
    running.handler.kept.lock().unwrap().truncate(5);
    running.next_n(15).await;
    assert!(running.seen.try_recv().is_err());
    running.stop().await;
}

#[tokio::test]
async fn a_closed_gate_stops_receiving_and_an_open_one_resumes() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    let setup = Setup { gate: false, ..Setup::default() };
    let mut running = Running::start(&world, vec![queue.clone()], setup, accept);
    world.send(&queue, numbered(0..5)).await;
    clock::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.requests(Operation::ReceiveMessage), 0);
    running.gate.send_replace(true);
    running.next_n(5).await;
    // What a poll brings after the gate closed goes back unhandled.
    until("a poll waits", async || world.requests(Operation::ReceiveMessage) >= 2).await;
    running.gate.send_replace(false);
    world.send(&queue, numbered(5..8)).await;
    clock::sleep(Duration::from_millis(1500)).await;
    assert!(running.seen.try_recv().is_err());
    assert_eq!(world.sqs.depth(&queue.url).await.unwrap().visible, 3);
    running.gate.send_replace(true);
    running.next_n(3).await;
    running.stop().await;
}

#[tokio::test]
async fn an_idle_consumer_polls_once_at_a_time() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    world.server.reset_stats();
    let begun = clock::monotonic();
    let running = Running::start(&world, vec![queue], Setup::default(), accept);
    until("some polls have ended", async || world.requests(Operation::ReceiveMessage) > 3).await;
    // Long polls of one second, one after another: the same as three a minute at twenty seconds.
    let requests = world.server.stats().requests;
    assert!(requests <= begun.elapsed().as_secs() + 1, "{requests} requests in {:?}", begun.elapsed());
    running.stop().await;
}

#[tokio::test]
async fn errors_back_off_are_told_and_end_by_themselves() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    let rule = Rule::on(Operation::ReceiveMessage, Fault::Error(ErrorKind::InternalError));
    world.server.set_faults(Faults { rules: vec![rule] });
    let mut running = Running::start(&world, vec![queue.clone()], Setup::default(), accept);
    until("it counts as away", async || !running.consumer.health()[0].1.up).await;
    let requests = world.requests(Operation::ReceiveMessage);
    assert!((3..=12).contains(&requests), "{requests} receives while the queue was away");
    assert!(running.consumer.health()[0].1.detail.contains("InternalError"), "{:?}", running.consumer.health());
    world.server.set_faults(Faults::default());
    world.send(&queue, numbered(0..3)).await;
    running.next_n(3).await;
    assert!(running.consumer.health()[0].1.up);
    running.stop().await;
}

#[tokio::test]
async fn a_receive_that_is_never_answered_is_given_up() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    let stall = Rule::on(Operation::ReceiveMessage, Fault::Stall { ms: 600_000 }).next(1);
    world.server.set_faults(Faults { rules: vec![stall] });
    let mut running = Running::start(&world, vec![queue.clone()], Setup::default(), accept);
    world.send(&queue, numbered(0..1)).await;
    assert_eq!(running.next().await, "job-0");
    running.stop().await;
}

#[tokio::test]
async fn a_lost_answer_of_a_fifo_queue_is_asked_for_again() {
    let world = World::new().await;
    let queue = world.queue("jobs.fifo").await;
    world.send(&queue, numbered(0..3)).await;
    world.server.set_faults(Faults { rules: vec![Rule::on(Operation::ReceiveMessage, Fault::DropAfter).next(1)] });
    let mut running = Running::start(&world, vec![queue.clone()], Setup::default(), accept);
    // Without the attempt's id they would be away for the visibility time-out, longer than our patience.
    assert_eq!(running.next_n(3).await, ["job-0", "job-1", "job-2"]);
    running.stop().await;
}

#[tokio::test]
async fn a_standard_queues_group_names_the_tenant() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    let message = Outgoing { group_id: Some("tenant-7".into()), ..Outgoing::new("x") };
    assert!(world.producer(&queue).send(&[message], |_| {}).await[0].is_ok());
    let (tell, mut told) = mpsc::unbounded_channel();
    let running = Running::start(&world, vec![queue.clone()], Setup::default(), move |message| {
        tell.send(message.group_id.clone()).unwrap();
        Disposition::Reject(rejection())
    });
    assert_eq!(told.recv().await.unwrap().as_deref(), Some("tenant-7"));
    world.all_gone(&queue).await;
    running.stop().await;
    let letters = world.sqs.peek(&queue, queue.dead_letter.as_ref().unwrap(), 1).await.unwrap();
    assert_eq!(letters[0].message.group_id.as_deref(), Some("tenant-7"));
}

#[tokio::test]
async fn a_stop_gives_back_what_the_last_poll_brings() {
    let world = World::with_wait(Duration::from_secs(5)).await;
    let queue = world.queue("jobs").await;
    let mut running = Running::start(&world, vec![queue.clone()], Setup::default(), accept);
    until("a poll waits", async || world.requests(Operation::ReceiveMessage) == 1).await;
    running.lifecycle.begin_shutdown();
    world.send(&queue, numbered(0..3)).await;
    assert!(running.lifecycle.drain(Duration::from_secs(10)).await);
    assert!(running.seen.try_recv().is_err(), "a message was handled after the stop");
    let depth = world.sqs.depth(&queue.url).await.unwrap();
    assert_eq!((depth.visible, depth.in_flight), (3, 0));
}

#[tokio::test]
async fn a_stop_lets_batches_end_and_deletes_through() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    world.send(&queue, ["slow".to_owned()]).await;
    let running = Running::start(&world, vec![queue.clone()], Setup::default(), accept);
    until("it is in the handler", async || running.handler.batches.load(SeqCst) == 1).await;
    running.lifecycle.begin_shutdown();
    running.handler.slow.add_permits(1);
    running.stop().await;
    assert_eq!(world.server.stats().of(Operation::DeleteMessageBatch).messages, 1);
}

#[tokio::test]
async fn a_fifo_group_keeps_its_order_into_the_handler() {
    let world = World::new().await;
    let queue = world.queue("jobs.fifo").await;
    let messages: Vec<_> = (0..60)
        .map(|n| Outgoing { group_id: Some(format!("g{}", n % 3)), ..Outgoing::new(format!("{}:{n:03}", n % 3)) })
        .collect();
    assert!(world.producer(&queue).send(&messages, |_| {}).await.iter().all(Result::is_ok));
    // One group fails at each first delivery: what is left stands behind what was accepted.
    let decide = |message: &Message| match (message.group_id.as_deref(), message.receive_count) {
        (Some("g1"), 1) => Disposition::Leave { after: Duration::ZERO },
        _ => accept(message),
    };
    let mut running = Running::start(&world, vec![queue.clone()], Setup::default(), decide);
    world.all_gone(&queue).await;
    running.lifecycle.begin_shutdown();
    let mut accepted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while let Ok(body) = running.seen.try_recv() {
        let group = accepted.entry(body[..1].to_owned()).or_default();
        // The last delivery counts; the ones before were left.
        group.retain(|earlier| *earlier != body);
        group.push(body);
    }
    running.stop().await;
    for (group, bodies) in accepted {
        assert_eq!(bodies.len(), 20, "group {group}");
        assert!(bodies.is_sorted(), "group {group}: {bodies:?}");
    }
}

#[tokio::test]
async fn weights_share_the_backlog_when_both_queues_are_full() {
    let world = World::new().await;
    let mut heavy = world.queue("heavy").await;
    let light = world.queue("light").await;
    heavy.weight = 3;
    for queue in [&heavy, &light] {
        world.send(queue, (0..300).map(|n| format!("{}-{n}", queue.name))).await;
    }
    let setup = Setup { backlog: 80, keep: true, ..Setup::default() };
    let mut running = Running::start(&world, vec![heavy, light], setup, accept);
    // Work ends oldest first, while both queues want more than there is.
    let mut bodies = Vec::new();
    for _ in 0..15 {
        until("the backlog is full", async || running.handler.kept.lock().unwrap().len() == 80).await;
        while let Ok(body) = running.seen.try_recv() {
            bodies.push(body);
        }
        running.handler.kept.lock().unwrap().drain(..20);
    }
    let late = &bodies[bodies.len() - 200..];
    let heavy = late.iter().filter(|body| body.starts_with("heavy")).count();
    assert!((120..=180).contains(&heavy), "{heavy} of {} are from the heavy queue", late.len());
    running.stop().await;
}

#[tokio::test]
async fn dead_letters_go_back_by_hand_where_sqs_moves_none() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    world.send(&queue, numbered(0..12)).await;
    let running = Running::start(&world, vec![queue.clone()], Setup::default(), |_| Disposition::Reject(rejection()));
    world.all_gone(&queue).await;
    running.stop().await;
    let dlq = queue.dead_letter.clone().unwrap();
    let refusal = Rule::on(Operation::StartMessageMoveTask, Fault::Error(ErrorKind::UnsupportedOperation));
    world.server.set_faults(Faults { rules: vec![refusal] });
    let moved = AtomicUsize::new(0);
    let redrive = world.sqs.redrive(&queue, &dlq, |n| _ = moved.fetch_add(n, SeqCst)).await.unwrap();
    assert_eq!((redrive, moved.load(SeqCst)), (Redrive::Moved { count: 12 }, 12));
    assert_eq!(world.sqs.depth(&queue.url).await.unwrap().visible, 12);
    let back =
        world.sqs.peek(&queue, &voxd::queue::DeadLetterQueue { url: queue.url.clone(), ..dlq }, 3).await.unwrap();
    assert!(back.iter().all(|letter| letter.reason.is_none()) && back.len() == 3);
}

#[tokio::test]
async fn dead_letters_go_back_by_sqss_own_task() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    world.send(&queue, numbered(0..3)).await;
    let running = Running::start(&world, vec![queue.clone()], Setup::default(), |_| Disposition::Reject(rejection()));
    world.all_gone(&queue).await;
    running.stop().await;
    let redrive = world.sqs.redrive(&queue, queue.dead_letter.as_ref().unwrap(), |_| {}).await.unwrap();
    assert!(matches!(redrive, Redrive::Started { .. }), "{redrive:?}");
    until("they are back", async || world.sqs.depth(&queue.url).await.unwrap().visible == 3).await;
}

#[tokio::test]
async fn what_cannot_be_resolved_says_why() {
    let world = World::new().await;
    let resolve = async |text: &str| world.sqs.resolve(&text.parse::<QueueTarget>().unwrap()).await.unwrap_err();
    assert_eq!(
        resolve("nowhere").await.to_string(),
        "bad configuration: queue.urls (VOXD_QUEUES): \"nowhere\" does not exist in region us-east-1"
    );
    assert_eq!(
        resolve("https://sqs.eu-west-1.amazonaws.com/123456789012/jobs").await.to_string(),
        "bad configuration: queue.urls (VOXD_QUEUES): \"https://sqs.eu-west-1.amazonaws.com/123456789012/jobs\" is in region eu-west-1, \
         but AWS_REGION is us-east-1"
    );
    world
        .server
        .set_faults(Faults { rules: vec![Rule::on(Operation::GetQueueUrl, Fault::Error(ErrorKind::AccessDenied))] });
    assert!(matches!(resolve("jobs").await, ResolveError::Unavailable { .. }));
}

#[tokio::test]
async fn sending_reads_every_entrys_result() {
    let world = World::new().await;
    let queue = world.queue("jobs").await;
    let producer = world.producer(&queue);
    world.server.set_faults(Faults {
        rules: vec![
            Rule::on(Operation::SendMessageBatch, Fault::FailEntries(ErrorKind::InternalError))
                .probability(0.4)
                .next(5),
        ],
    });
    let messages: Vec<_> = numbered(0..40).map(Outgoing::new).collect();
    assert!(producer.send(&messages, |_| {}).await.iter().all(Result::is_ok));
    assert_eq!(world.sqs.depth(&queue.url).await.unwrap().visible, 40);
    let results = producer.send(&[Outgoing::new("good"), Outgoing::new("")], |_| {}).await;
    assert!(results[0].is_ok() != results[1].is_ok() || results.iter().all(Result::is_err), "{results:?}");
}
