//! Who asks: `Authorization: Bearer vx_<id>_<secret>`.
//!
//! A handler says with its first argument who may call it, so that none can forget to ask.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use http::HeaderValue;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::request::Parts;

use super::HttpState;
use super::errors::{Kind, Problem};
use crate::store::keys::{Identity, Role};

/// The roles that a handler is open to.
pub trait Roles: Send + Sync {
    const ROLES: &'static [Role];
}

pub struct Operators;
pub struct Services;
pub struct OperatorsAndServices;
pub struct Users;

impl Roles for Operators {
    const ROLES: &'static [Role] = &[Role::Operator];
}

impl Roles for Services {
    const ROLES: &'static [Role] = &[Role::Service];
}

impl Roles for Users {
    const ROLES: &'static [Role] = &[Role::User];
}

impl Roles for OperatorsAndServices {
    const ROLES: &'static [Role] = &[Role::Operator, Role::Service];
}

/// The caller, whose key has one of the roles.
pub struct Caller<R: Roles> {
    pub identity: Identity,
    roles: PhantomData<R>,
}

impl<R: Roles> Caller<R> {
    /// Whose objects this key reaches.
    pub fn owner(&self) -> &str {
        &self.identity.owner
    }

    /// As the timeline names them.
    pub fn as_source(&self) -> String {
        format!("{}:{}", self.identity.role, self.identity.owner)
    }
}

impl<R: Roles> FromRequestParts<HttpState> for Caller<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, Problem> {
        let header = parts.headers.get(AUTHORIZATION).ok_or_else(|| {
            Problem::unauthorized(
                "the header Authorization is missing, expected: Bearer vx_<id>_<secret>",
                "Bearer realm=\"voxd\"",
            )
        })?;
        let refused = || {
            let detail = "the API key is unknown, wrong, expired or revoked";
            Problem::unauthorized(detail, "Bearer realm=\"voxd\", error=\"invalid_token\"")
        };
        let key = header.to_str().ok().and_then(bearer).ok_or_else(refused)?;
        let identity = state.store.authenticate(key).await?.ok_or_else(refused)?;
        if R::ROLES.contains(&identity.role) {
            return Ok(Self { identity, roles: PhantomData });
        }
        let wanted: Vec<_> = R::ROLES.iter().map(|role| role.as_str()).collect();
        let detail = format!("the key's role is {}, expected {}", identity.role, wanted.join(" or "));
        let challenge = HeaderValue::from_static("Bearer realm=\"voxd\", error=\"insufficient_scope\"");
        Err(Problem::new(Kind::Forbidden, detail).with_header(WWW_AUTHENTICATE, challenge))
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, key) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        assert_eq!(bearer("Bearer vx_a"), Some("vx_a"));
        assert_eq!(bearer("bearer  vx_a "), Some("vx_a"));
        assert_eq!(bearer("Basic dXNlcg=="), None);
        assert_eq!(bearer("vx_a"), None);
    }
}
