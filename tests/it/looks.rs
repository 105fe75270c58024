//! Looking at live attempts when the platform falls silent, is switched off, or is asked while the daemon ends.

use std::time::Duration;

use crate::harness::{World, WorldOptions, call_event, eventually, number};

#[tokio::test]
async fn a_call_whose_platform_was_switched_off_ends_as_lost() {
    let world = World::with(WorldOptions { without_webhooks: true, ..WorldOptions::default() }).await;
    let daemon = world.daemon().await;
    world.enqueue(&call_event("job", &number(0, "0107"))).await;
    eventually("it is live", async || {
        let (status, _) = world.status("job").await?;
        matches!(status.as_str(), "placed" | "ringing" | "in_progress").then_some(())
    })
    .await;
    daemon.kill().await;
    let _without = world.daemon_with(&[("BLAND_AI_API_KEY", ""), ("VOXD_POLLER__GIVE_UP_AFTER", "3s")]).await;
    world.until_status("job", "failed").await;
    assert_eq!(world.status("job").await.unwrap().1.as_deref(), Some("lost_by_platform"));
}

#[tokio::test]
async fn a_platform_that_hangs_does_not_hold_up_the_end_of_the_daemon() {
    let world = World::new().await;
    let daemon = world.daemon().await;
    world.enqueue(&call_event("job", &number(0, "0120"))).await;
    world.until_status("job", "in_doubt").await;
    daemon.kill().await;
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", hanging.local_addr().unwrap());
    let daemon = world
        .daemon_with(&[
            ("VOXD_PLATFORMS__BLAND_AI__BASE_URL", &address),
            ("VOXD_PLATFORMS__BLAND_AI__REQUEST_TIMEOUT", "60s"),
        ])
        .await;
    let begun = "update call_attempts set next_look_at = now(), looks = 0";
    sqlx::query(begun).execute(&world.db).await.unwrap();
    eventually("a look is under way", async || {
        (world.count("select count(*) from call_attempts where looks > 0").await == 1).then_some(())
    })
    .await;
    let status = daemon.terminate(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(0));
}
