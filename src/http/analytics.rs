//! Calls in numbers.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE, VARY};

use super::HttpState;
use super::auth::{Caller, Operators};
use super::errors::{Kind, Problem};
use super::input::Query;
use crate::analytics::{self, DEFAULT_SPAN, GroupBy, LONGEST_SPAN, MOST_GROUPS, NoReport, Question, Report};
use crate::call::CallStatus;
use crate::clock;

/// Counts calls: how they ended, how long they took, what they cost with all their attempts. The last day where no time is
/// given, at most 366 days.
#[utoipa::path(get, path = "/api/analytics/calls/", operation_id = "count_calls", tag = "calls", params(
        ("group_by" = Option<Vec<GroupBy>>, Query, style = Form, explode = false, description = "One or several; commas between, or several times"),
        ("created_after" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "When the calls were accepted; inclusive, RFC 3339. A day before `created_before` where absent"),
        ("created_before" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Exclusive, RFC 3339; now where absent"),
        ("platform" = Option<String>, Query, description = "Of the next or the latest attempt"),
        ("status" = Option<Vec<CallStatus>>, Query, style = Form, explode = false, description = "Any of these; commas between, or several times"),
        ("user_id" = Option<String>, Query),
        ("source" = Option<String>, Query, description = "Of the job that asked for the call"),
        ("campaign_id" = Option<String>, Query, description = "`metadata.campaign_id`, as text"),
        ("format" = Option<String>, Query, description = "`json` or `csv`; else by `Accept`"),
    ), responses(
        (status = 200, description = "The numbers; as CSV, each currency has columns of its own, and a cell that a spreadsheet would take for a formula begins with an apostrophe",
            content((Report = "application/json"), (String = "text/csv"))),
        (status = 422, description = "Too much for one answer"),
    ), security(("key" = [])))]
pub async fn calls(
    _: Caller<Operators>,
    State(state): State<HttpState>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let question = question(&mut query);
    let csv = wants_csv(&mut query, &headers);
    query.end()?;
    let report = analytics::report(&state.store, &question).await?;
    if !csv {
        return Ok(([(VARY, "accept")], Json(report)).into_response());
    }
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (CONTENT_DISPOSITION, "attachment; filename=\"calls.csv\""),
        (VARY, "accept"),
    ];
    Ok((headers, report.to_csv()).into_response())
}

fn question(query: &mut Query) -> Question {
    let mut group_by: Vec<GroupBy> = Vec::new();
    for group in query.list("group_by") {
        if !group_by.contains(&group) {
            group_by.push(group);
        }
    }
    let to = query.time("created_before").unwrap_or_else(clock::now);
    let from = query.time("created_after").unwrap_or(to - DEFAULT_SPAN);
    if from >= to {
        query.wrong("created_after", "is not before created_before");
    } else if to - from > LONGEST_SPAN {
        query.wrong("created_after", &format!("is more than {} days before created_before", LONGEST_SPAN.num_days()));
    }
    Question {
        from,
        to,
        platform: query.text("platform"),
        statuses: query.list("status"),
        user_id: query.text("user_id"),
        source: query.text("source"),
        campaign_id: query.text("campaign_id"),
        group_by,
        most_groups: MOST_GROUPS,
    }
}

/// The parameter decides; without it the first of the two kinds that `Accept` names.
fn wants_csv(query: &mut Query, headers: &HeaderMap) -> bool {
    match query.text("format").as_deref() {
        Some("csv") => true,
        Some("json") => false,
        Some(other) => {
            let problem = format!("{other:?} is not one of json, csv");
            query.wrong("format", &problem);
            false
        }
        None => {
            let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
            let mut kinds = accepted.flat_map(|value| value.split(',')).filter_map(|kind| kind.split(';').next());
            kinds.find_map(|kind| match kind.trim() {
                "text/csv" => Some(true),
                "application/json" | "*/*" => Some(false),
                _ => None,
            }) == Some(true)
        }
    }
}

impl From<NoReport> for Problem {
    fn from(error: NoReport) -> Self {
        match error {
            NoReport::TooManyGroups | NoReport::TooMuch => Problem::new(Kind::Invalid, error.to_string()),
            NoReport::Store(error) => error.into(),
        }
    }
}
