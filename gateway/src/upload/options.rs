//! Options as text: from the query, and from the fields of a form.

use std::str::FromStr;

use separation::Request;
use serde_json::{Value, json};

use crate::error::ApiError;

/// The options of a query.
pub(crate) fn from_pairs(pairs: &[(String, String)]) -> Result<Request, ApiError> {
    let mut request = Request::default();
    for (name, value) in pairs {
        set(&mut request, name, value)?;
    }
    Ok(request)
}

/// Sets one option. An empty one is as if it were not there: HTML forms send such. What is not
/// known is passed over: clients of the first API send fields that mean nothing here.
pub(super) fn set(request: &mut Request, name: &str, value: &str) -> Result<(), ApiError> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(());
    }
    match name {
        "model" => request.model = Some(value.to_owned()),
        "stems" => request.stems.extend(split_list(value)),
        "format" => request.format = Some(value.to_owned()),
        "bitrate" => request.bitrate = Some(number(name, value)?),
        "overlap" => request.overlap = Some(number(name, value)?),
        "shifts" => request.shifts = Some(number(name, value)?),
        "lane" => request.lane = Some(value.parse().map_err(|error| refused(name, value, error))?),
        "name" | "filename" => request.name = Some(value.to_owned()),
        "callback" => request.callback = Some(callback(value)),
        _ => {}
    }
    Ok(())
}

/// `vocals, drums` → `vocals` and `drums`.
pub(super) fn split_list(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned)
}

fn number<N: FromStr>(name: &str, value: &str) -> Result<N, ApiError> {
    value.parse().map_err(|_| refused(name, value, "a number is expected"))
}

fn refused(name: &str, value: &str, why: impl std::fmt::Display) -> ApiError {
    ApiError::Refused(format!("{name} is `{value}`: {why}"))
}

/// The whole of it as JSON, or only its URL.
fn callback(value: &str) -> Value {
    match serde_json::from_str(value) {
        Ok(callback @ Value::Object(_)) => callback,
        _ => json!({ "url": value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(&str, &str)]) -> Result<Request, String> {
        let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        from_pairs(&pairs.iter().map(owned).collect::<Vec<_>>()).map_err(|error| error.to_string())
    }

    #[test]
    fn stems_come_as_a_list_or_one_by_one() {
        let list = request(&[("stems", "vocals, drums,")]).unwrap();
        let one_by_one = request(&[("stems", "vocals"), ("stems", "drums")]).unwrap();
        assert_eq!(list.stems, ["vocals", "drums"]);
        assert_eq!(list, one_by_one);
    }

    #[test]
    fn numbers_are_read_and_anything_else_refused() {
        assert_eq!(request(&[("overlap", "0.5")]).unwrap().overlap, Some(0.5));
        assert_eq!(request(&[("bitrate", "")]).unwrap().bitrate, None);
        assert!(request(&[("bitrate", "lots")]).unwrap_err().contains("`lots`"));
    }

    #[test]
    fn there_are_two_lanes() {
        assert_eq!(request(&[("lane", "batch")]).unwrap().lane, Some(workflow::Lane::Batch));
        assert!(request(&[("lane", "fast")]).unwrap_err().contains("use interactive or batch"));
    }

    #[test]
    fn a_callback_is_json_or_a_url() {
        let whole = request(&[("callback", r#"{"url": "http://a/", "data": 1}"#)]).unwrap();
        assert_eq!(whole.callback, Some(json!({"url": "http://a/", "data": 1})));
        let url = request(&[("callback", "http://a/")]).unwrap();
        assert_eq!(url.callback, Some(json!({"url": "http://a/"})));
    }
}
