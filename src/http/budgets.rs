//! What the calls of one user may cost, as an operator says it.

use axum::Json;
use axum::extract::State;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::HttpState;
use super::auth::{Caller, Operators};
use super::calls::check_text;
use super::errors::{Kind, Problem};
use super::input::{self, Name, Query};
use crate::call::FieldError;
use crate::config::{is_currency, parse_amount};
use crate::store::budgets::UserBudget;

const MAX_USER_CHARS: usize = 256;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BudgetList {
    /// By user.
    items: Vec<UserBudget>,
}

/// The budgets that users have of their own; all others have the default of the settings.
#[utoipa::path(get, path = "/api/budgets/", operation_id = "list_budgets", tag = "calls",
    responses((status = 200, description = "All of them, with what is spent", body = BudgetList)), security(("key" = [])))]
pub async fn list(
    _: Caller<Operators>,
    State(state): State<HttpState>,
    query: Query,
) -> Result<Json<BudgetList>, Problem> {
    query.end()?;
    Ok(Json(BudgetList { items: state.store.user_budgets(None).await? }))
}

/// Body of a budget. What is absent is not limited.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetRequest {
    /// ISO 4217, or a platform's own unit; costs in another one are not counted.
    #[serde(default = "usd")]
    #[schema(default = "USD")]
    currency: String,
    /// A decimal as text.
    #[serde(default)]
    #[schema(example = "25")]
    per_day: Option<String>,
    #[serde(default)]
    #[schema(example = "300")]
    per_month: Option<String>,
    /// Why.
    #[schema(min_length = 1, max_length = 500)]
    because: String,
}

fn usd() -> String {
    "USD".into()
}

/// Sets a user's budget. Their calls that wait for one are judged again at once.
#[utoipa::path(put, path = "/api/budgets/{user_id}/", operation_id = "put_budget", tag = "calls", params(("user_id" = String, Path)), request_body = BudgetRequest,
    responses(
        (status = 200, description = "It holds within two seconds", body = UserBudget),
        (status = 422, description = "`errors` names the fields"),
    ), security(("key" = [])))]
pub async fn put(
    caller: Caller<Operators>,
    State(state): State<HttpState>,
    Name(user_id): Name,
    body: input::Json,
) -> Result<Json<UserBudget>, Problem> {
    let request: BudgetRequest = body.read()?;
    check_text("/because", &request.because)?;
    if user_id.chars().count() > MAX_USER_CHARS || user_id.contains('\0') {
        return Err(Problem::new(Kind::BadRequest, format!("a user's id has at most {MAX_USER_CHARS} characters")));
    }
    if !is_currency(&request.currency) {
        let problem = format!("{:?} is not a currency, expected ISO 4217 such as USD", request.currency);
        return Err(Problem::invalid(vec![FieldError::new("/currency", problem)]));
    }
    let per_day = amount("/per_day", request.per_day.as_deref())?;
    let per_month = amount("/per_month", request.per_month.as_deref())?;
    let by = caller.as_source();
    state.store.set_user_budget(&user_id, &request.currency, per_day, per_month, &by, &request.because).await?;
    tracing::info!(user_id, by, "budget set");
    let budget = state.store.user_budgets(Some(&user_id)).await?.pop();
    budget.map(Json).ok_or_else(|| no_budget(&user_id))
}

/// Takes a user's own budget away: the default of the settings holds again.
#[utoipa::path(delete, path = "/api/budgets/{user_id}/", operation_id = "delete_budget", tag = "calls", params(
        ("user_id" = String, Path),
        ("because" = String, Query, description = "Why, 1 to 500 characters"),
    ), responses(
        (status = 204, description = "The default holds again"),
        (status = 404, description = "The user has no budget of their own"),
    ), security(("key" = [])))]
pub async fn delete(
    caller: Caller<Operators>,
    State(state): State<HttpState>,
    Name(user_id): Name,
    mut query: Query,
) -> Result<http::StatusCode, Problem> {
    let because = query.text("because");
    if because.is_none() {
        query.wrong("because", "is missing, expected why");
    }
    query.end()?;
    let (by, because) = (caller.as_source(), because.unwrap_or_default());
    check_text("/because", &because)?;
    if !state.store.remove_user_budget(&user_id, &by, &because).await? {
        return Err(no_budget(&user_id));
    }
    tracing::info!(user_id, by, "budget removed");
    Ok(http::StatusCode::NO_CONTENT)
}

fn amount(pointer: &str, text: Option<&str>) -> Result<Option<Decimal>, Problem> {
    let parse = |text| parse_amount(text).map_err(|problem| Problem::invalid(vec![FieldError::new(pointer, problem)]));
    text.map(parse).transpose()
}

fn no_budget(user_id: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("user {user_id:?} has no budget of their own"))
}
