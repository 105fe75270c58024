use super::*;

fn question(group_by: &[GroupBy]) -> Question {
    Question {
        from: DateTime::UNIX_EPOCH,
        to: DateTime::UNIX_EPOCH + TimeDelta::days(1),
        platform: None,
        statuses: Vec::new(),
        user_id: None,
        source: None,
        campaign_id: None,
        group_by: group_by.to_vec(),
        most_groups: MOST_GROUPS,
    }
}

fn keys(platform: &str) -> Keys {
    Keys { platform: Some(platform.into()), ..Keys::default() }
}

fn spent(currency: Option<&str>, amount: &str, estimated: &str) -> Spent {
    let decimal = |text: &str| text.parse().unwrap();
    Spent {
        currency: currency.map(str::to_owned),
        attempts: 2,
        talk_seconds: 50,
        amount: decimal(amount),
        estimated: decimal(estimated),
    }
}

fn answer() -> Answer {
    let vapi = Counts { calls: 4, completed: 2, no_answer: 1, failed: 1, ..Counts::default() };
    let bland = Counts { calls: 2, busy: 1, ..Counts::default() };
    Answer {
        calls: vec![(keys("vapi"), vapi), (keys("bland_ai"), bland)],
        attempts: vec![
            (keys("vapi"), spent(Some("USD"), "0.300000", "0.100000")),
            (keys("vapi"), spent(Some("EUR"), "0.1", "0")),
            (keys("vapi"), spent(None, "0", "0")),
            (keys("bland_ai"), spent(Some("USD"), "0.2", "0.2")),
        ],
    }
}

#[test]
fn groups_are_sorted_and_every_currency_is_added_up_for_itself() {
    let report = put_together(&question(&[GroupBy::Platform]), answer());
    insta::assert_snapshot!(report.to_csv().replace("\r\n", "\n"), @r"
    platform,calls,open,completed,no_answer,busy,voicemail,failed,cancelled,rejected,expired,attempts,talk_seconds,answer_rate,talk_seconds_per_completed_call,cost_eur,cost_estimated_eur,cost_per_completed_call_eur,cost_usd,cost_estimated_usd,cost_per_completed_call_usd
    bland_ai,2,1,0,0,1,0,0,0,0,0,2,50,0,,,,,0.2,0.2,
    vapi,4,0,2,1,0,0,1,0,0,0,6,150,0.6667,75,0.1,0,0.05,0.3,0.1,0.15
    ");
    let total = serde_json::to_value(&report.total.costs).unwrap();
    assert_eq!(
        total,
        serde_json::json!([
            { "currency": "EUR", "amount": "0.1", "estimated": "0", "per_completed_call": "0.05" },
            { "currency": "USD", "amount": "0.5", "estimated": "0.3", "per_completed_call": "0.25" },
        ])
    );
}

#[test]
fn nothing_at_all_is_one_row_of_zeros_or_no_group() {
    assert_eq!(put_together(&question(&[]), Answer::default()).items.len(), 1);
    assert!(put_together(&question(&[GroupBy::Hour]), Answer::default()).items.is_empty());
}

#[test]
fn tenths_add_up_exactly() {
    let parts: Vec<Spent> = (0..10).map(|_| spent(Some("USD"), "0.1", "0")).collect();
    assert_eq!(numbers(&Counts::default(), &parts).costs[0].amount, Decimal::ONE);
}
