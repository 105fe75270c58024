//! Addresses below a platform's base address, which may have a path of its own.

use url::Url;

/// `base` with further path segments (each is escaped) and a query.
pub fn below(base: &Url, path: &[&str], query: &[(&str, &str)]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url
}

/// The same for a payload's path, e.g. `/v1/calls`.
pub fn of_path(base: &Url, path: &str) -> Url {
    let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    below(base, &path, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_with_a_path_keeps_it_and_ids_stay_one_segment() {
        let base: Url = "https://proxy.example/bland/".parse().unwrap();
        assert_eq!(of_path(&base, "/v1/calls").as_str(), "https://proxy.example/bland/v1/calls");
        assert_eq!(
            below(&base, &["v1", "a/b"], &[("to", "+1 2")]).as_str(),
            "https://proxy.example/bland/v1/a%2Fb?to=%2B1+2"
        );
    }
}
