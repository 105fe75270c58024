//! Budgets: calls wait at the limit, on every replica, and go on when there is room again.

use std::io::Write as _;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::types::Decimal;
use uuid::Uuid;
use voxd::call::Money;
use voxd::call::budget::{Budget, Period};
use voxd::config::{Config, Environment};
use voxd::store::Store;
use voxd::store::budgets::{Limits, Wish};

use crate::harness::{Daemon, World, WorldOptions, call_event, eventually, number, reply};

fn amount(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn per_day(text: &str) -> Budget {
    Budget::new("USD", Some(amount(text)), None).unwrap()
}

/// A world in which a call counts as 0.50 USD until it has ended, and costs what the platform tells.
async fn world_with(settings: &[(&str, &str)]) -> World {
    let price = [("VOXD_COSTS__BLAND_AI__PER_MINUTE", "0.10"), ("VOXD_BUDGETS__LOOK_AGAIN", "200ms")];
    let environment = price.iter().chain(settings).map(|(name, value)| ((*name).into(), (*value).into())).collect();
    World::with(WorldOptions { environment, ..WorldOptions::default() }).await
}

/// What counts against the platform's budget now.
async fn counted(world: &World) -> Decimal {
    let sum = "select coalesce((select sum(amount) from spending where scope = 'platform'), 0) + coalesce((select sum(amount) from reservations), 0)";
    sqlx::query_scalar(sum).fetch_one(&world.db).await.unwrap()
}

async fn readiness(daemon: &Daemon) -> Value {
    reply(reqwest::Client::new().get(format!("{}/readyz", daemon.base_url))).await.body
}

#[tokio::test]
async fn a_platforms_budget_is_not_passed_by_two_replicas() {
    let settings = [("VOXD_COSTS__BLAND_AI__BUDGET_PER_DAY", "1"), ("VOXD_COSTS__BLAND_AI__RESERVE_MINUTES", "1")];
    let world = world_with(&settings).await;
    // Two calls fit at once, and a few one after another.
    let spent = "insert into spending (scope, name, currency, day, shard, amount) values ('platform', 'bland_ai', 'USD', (now() at time zone 'UTC')::date, 0, 0.77)";
    sqlx::query(spent).execute(&world.db).await.unwrap();
    let (one, _two) = tokio::join!(world.daemon(), world.daemon());
    for n in 0..30 {
        world.enqueue(&call_event(&format!("b-{n}"), &number(n, "0100"))).await;
    }
    let limit = Decimal::ONE;
    let open = "select count(*) from calls where status not in ('completed', 'scheduled') or status = 'scheduled' and status_reason <> 'budget'";
    eventually("all that fits has been said, the rest waits", async || {
        let counted = counted(&world).await;
        assert!(counted <= limit, "{counted} of {limit}");
        let done = world.count("select count(*) from calls").await == 30
            && world.count(open).await == 0
            && world.count("select count(*) from reservations").await == 0
            && counted + amount("0.1") > limit;
        done.then_some(())
    })
    .await;
    assert!(world.count("select count(*) from calls where status = 'completed'").await > 2, "ended calls make room");
    let held = "select count(*) from call_events where kind = 'held' and detail->>'reason' = 'budget' and detail->>'detail' like 'platform bland_ai may cost 1 USD a day: %'";
    assert!(world.count(held).await > 0);
    eventually("people see it", async || {
        let detail = readiness(&one).await.pointer("/parts/platforms/bland_ai/detail").cloned().unwrap_or_default();
        let told =
            detail.as_str().is_some_and(|detail| detail.contains("no further call fits into the budget of the day"));
        let waiting = one.metric("voxd_calls_waiting", &["reason=\"budget\""]).await;
        let used = one.metric("voxd_budget_used_ratio", &["platform=\"bland_ai\"", "period=\"day\""]).await;
        let cost = one.metric("voxd_call_cost_total", &["platform=\"bland_ai\"", "currency=\"USD\""]).await;
        (told && waiting > 0.0 && used > 0.9 && used <= 1.0 && cost > 0.9 && cost <= 1.0).then_some(())
    })
    .await;
    assert_eq!(readiness(&one).await["status"], "ready", "a budget is no reason to leave");
}

#[tokio::test]
async fn a_users_budget_holds_their_calls_alone_until_it_is_raised() {
    let world = world_with(&[]).await;
    let daemon = world.daemon().await;
    let set = ["budgets", "set", "user-7", "--per-day", "0.30", "--because", "trial", "--by", "ada", "--json"];
    assert_eq!(world.command(&set).await, json!({ "set": "user-7" }));
    // The daemon notices a first budget within two seconds; what is sent before does not count.
    voxd::clock::sleep(Duration::from_secs(4)).await;
    world.enqueue(&call_event("held", &number(1, "0100"))).await;
    let mut other = call_event("free", &number(2, "0100"));
    other["data"]["user"]["id"] = json!("user-8");
    world.enqueue(&other).await;
    world.until_status("free", "completed").await;
    world.until_was("held", "scheduled", "budget").await;
    assert!(world.creates_to(&number(1, "0100")).is_empty());

    let api = world.api(&daemon, "operator").await;
    let shown = api.get("/api/budgets/").await.body["items"][0].clone();
    assert_eq!(
        (&shown["user_id"], &shown["per_day"], &shown["set_by"]),
        (&json!("user-7"), &json!("0.300000"), &json!("operator:ada"))
    );
    let raise = json!({ "per_day": "5", "because": "paid" });
    assert_eq!(api.put("/api/budgets/user-7/", &raise).await.status, 200);
    world.until_status("held", "completed").await;
    let listed = world.command(&["budgets", "list", "--json"]).await;
    assert_eq!(listed["users"][0]["because"], "paid");
    assert!(listed["users"][0]["spent_today"].as_str().unwrap().parse::<Decimal>().unwrap() > Decimal::ZERO);
    for (body, pointer) in [
        (json!({ "per_day": "1" }), ""),
        (json!({ "per_day": "-1", "because": "x" }), "/per_day"),
        (json!({ "per_day": 1.5, "because": "x" }), "/per_day"),
        (json!({ "currency": "usd", "because": "x" }), "/currency"),
    ] {
        let refused = api.put("/api/budgets/user-7/", &body).await;
        assert_eq!((refused.status, &refused.body["errors"][0]["pointer"]), (422, &json!(pointer)), "{body}");
    }
    assert_eq!(
        world.command(&["budgets", "remove", "user-7", "--because", "done", "--json"]).await,
        json!({ "removed": "user-7" })
    );
    assert_eq!(api.get("/api/budgets/").await.body["items"], json!([]));
}

#[tokio::test]
async fn without_budgets_nothing_is_reserved() {
    let world = world_with(&[]).await;
    let _daemon = world.daemon().await;
    world.enqueue(&call_event("free", &number(1, "0100"))).await;
    world.until_status("free", "completed").await;
    assert_eq!(world.count("select n_tup_ins from pg_stat_user_tables where relname = 'reservations'").await, 0);
}

async fn calls_of(world: &World, n: u32) -> (Store, Vec<Uuid>) {
    let url = &world.environment().iter().find(|(name, _)| name == "DATABASE_URL").unwrap().1;
    let config = Config::load(None, &Environment::from_pairs([("DATABASE_URL", url.as_str())])).unwrap();
    let mut ids = Vec::new();
    for i in 0..n {
        let id = Uuid::now_v7();
        sqlx::query("insert into jobs (source, event_id, type, content_hash, subject_id) values ('t', $1, 'voice.call.requested', sha256('x'), $2)")
            .bind(format!("c-{i}"))
            .bind(id)
            .execute(&world.db)
            .await
            .unwrap();
        sqlx::query(
            "insert into calls (id, source, event_id, status, status_source, platform, platforms, to_number, user_id, request, scheduled_for)
             values ($2, 't', $1, 'scheduled', 'test', 'bland_ai', '{bland_ai}', $3, 'user-7', '{}', now())",
        )
        .bind(format!("c-{i}"))
        .bind(id)
        .bind(number(i, "0100"))
        .execute(&world.db)
        .await
        .unwrap();
        ids.push(id);
    }
    (Store::new(&config.database).unwrap(), ids)
}

fn wish(call_id: Uuid, text: &str) -> Wish {
    Wish { call_id, attempt_id: Uuid::now_v7(), reserve: Money::usd(amount(text)) }
}

/// Without the budget's lock, more than five get in.
#[tokio::test]
async fn of_many_who_ask_at_once_only_so_many_get_in_as_fit() {
    let world = World::new().await;
    let (store, calls) = calls_of(&world, 12).await;
    let limits = Limits { platform: Some(per_day("5")), user: Some(per_day("100")) };
    let hold = Duration::from_secs(60);
    let wishes: Vec<Wish> = calls.iter().map(|call| wish(*call, "1")).collect();
    let asking = wishes.iter().map(|wish| store.reserve("bland_ai", std::slice::from_ref(wish), &limits, hold));
    let answers: Vec<_> = join_all(asking).await.into_iter().map(|answer| answer.unwrap().remove(0)).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_none()).count(), 5, "{answers:?}");
    let full = answers.iter().flatten().next().unwrap();
    assert_eq!((full.full.period, full.full.for_good), (Period::Day, false));
    assert_eq!(counted(&world).await, amount("5"));
    // One right was not given after all.
    let (won, _) = wishes.iter().zip(&answers).find(|(_, answer)| answer.is_none()).unwrap();
    store.unreserve(&[won.attempt_id]).await.unwrap();
    let again = store.reserve("bland_ai", &[wish(calls[0], "1"), wish(calls[1], "1")], &limits, hold).await.unwrap();
    assert_eq!(again.iter().map(Option::is_none).collect::<Vec<_>>(), [true, false]);
    // What somebody reserved who died before spending the right counts for a while only.
    let limits = Limits { platform: None, ..limits };
    let dear = store.reserve("vapi", &[wish(calls[2], "60")], &limits, Duration::ZERO).await.unwrap();
    assert!(dear[0].is_none());
    let after = store.reserve("vapi", &[wish(calls[3], "60")], &limits, hold).await.unwrap();
    assert!(after[0].is_none(), "{after:?}");
    let other = Wish { reserve: Money { amount: amount("500"), currency: "CREDITS".into() }, ..wish(calls[4], "1") };
    let credits = store.reserve("vapi", &[other], &limits, hold).await.unwrap();
    assert!(credits[0].is_none(), "credits are no matter of a budget in dollars");
}

#[tokio::test]
async fn a_budget_without_a_price_is_refused_at_the_start() {
    let load = |pairs: &[(&str, &str)]| Config::load(None, &Environment::from_pairs(pairs.iter().copied()));
    let error = load(&[("VOXD_COSTS__BLAND_AI__BUDGET_PER_DAY", "5")]).unwrap_err();
    assert_eq!(error.key, "costs.bland_ai.budget_per_day");
    assert!(error.to_string().contains("needs per_minute"), "{error}");
    let error = load(&[("VOXD_COSTS__BLAND_AI__PER_MINUTE", "cheap")]).unwrap_err();
    assert!(error.to_string().contains("expected a decimal"), "{error}");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "[costs.vapi]\nper_minute = 0.09").unwrap();
    let error = Config::load(Some(file.path()), &Environment::default()).unwrap_err();
    assert!(error.to_string().contains("money is never a float"), "{error}");
}
