//! The messages exchanged with a lead.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::HttpState;
use super::auth::{Caller, OperatorsAndServices};
use super::errors::Problem;
use super::input::{self, Query};
use crate::store::read::ThreadMessage;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ThreadMessageList {
    items: Vec<ThreadMessage>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Lists a lead's messages, newest first.
#[utoipa::path(get, path = "/api/thread-messages/", operation_id = "list_thread_messages", tag = "messages", params(
        ("lead_id" = String, Query),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 where absent"),
    ), responses((status = 200, description = "One page", body = ThreadMessageList)), security(("key" = [])))]
pub async fn list(
    _: Caller<OperatorsAndServices>,
    State(state): State<HttpState>,
    mut query: Query,
) -> Result<Json<ThreadMessageList>, Problem> {
    let lead_id = query.text("lead_id");
    if lead_id.is_none() {
        query.wrong("lead_id", "is missing, expected a lead's id");
    }
    let (before, limit) = (query.cursor(), query.limit());
    query.end()?;
    let lead_id = lead_id.unwrap_or_default();
    let messages = state.store.thread_messages(&lead_id, before, limit + 1).await?;
    let (items, next_cursor) =
        input::page(messages, limit, |message| input::encode_cursor(message.created_at, message.id));
    Ok(Json(ThreadMessageList { items, next_cursor }))
}
