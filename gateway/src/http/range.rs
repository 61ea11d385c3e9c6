//! Which bytes of a file a client wants (RFC 9110, section 14), and whether it has them already.

use std::ops::Range;

use axum::http::{HeaderMap, header};

/// What to send of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// A part of it.
    Part(Range<u64>),
    /// A part that it does not have.
    Outside,
    /// Nothing: the client has it already.
    Nothing,
}

/// Reads the headers of a request for a file of `size` bytes.
pub(crate) fn wanted(headers: &HeaderMap, size: u64, etag: &str) -> Wanted {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if header(header::IF_NONE_MATCH).is_some_and(|tags| matches_any(tags, etag)) {
        return Wanted::Nothing;
    }
    // Of a file that has changed meanwhile, a part is of no use.
    let has_changed = header(header::IF_RANGE).is_some_and(|tag| tag != etag);
    match header(header::RANGE) {
        Some(range) if !has_changed => parse(range, size),
        _ => Wanted::Whole,
    }
}

fn matches_any(tags: &str, etag: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

/// One range; a request for several at once, or for something else than bytes, gets the whole.
fn parse(range: &str, size: u64) -> Wanted {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'))
    else {
        return Wanted::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    let part = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Ok(first), Err(_)) if last.is_empty() => first..size,
        (Err(_), Ok(length)) if first.is_empty() => size.saturating_sub(length)..size,
        _ => return Wanted::Whole,
    };
    if part.start < part.end { Wanted::Part(part) } else { Wanted::Outside }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        for (range, expected) in [
            ("bytes=0-", Wanted::Part(0..100)),
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=10-19", Wanted::Part(10..20)),
            ("bytes=90-1000", Wanted::Part(90..100)),
            ("bytes=-10", Wanted::Part(90..100)),
            ("bytes=-1000", Wanted::Part(0..100)),
            ("bytes=0-18446744073709551615", Wanted::Part(0..100)),
            ("bytes=100-", Wanted::Outside),
            ("bytes=-0", Wanted::Outside),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("pages=1-2", Wanted::Whole),
        ] {
            assert_eq!(parse(range, 100), expected, "{range}");
        }
        assert_eq!(parse("bytes=0-", 0), Wanted::Outside);
    }

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), header::HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        for (tags, expected) in [
            ("\"a\"", Wanted::Nothing),
            ("W/\"a\"", Wanted::Nothing),
            ("\"b\", \"a\"", Wanted::Nothing),
            ("*", Wanted::Nothing),
            ("\"b\"", Wanted::Whole),
        ] {
            let headers = headers(&[(header::IF_NONE_MATCH, tags)]);
            assert_eq!(wanted(&headers, 9, "\"a\""), expected, "{tags}");
        }
    }

    #[test]
    fn a_part_of_another_file_is_not_sent() {
        let range = (header::RANGE, "bytes=1-2");
        for (tag, expected) in [
            ("\"a\"", Wanted::Part(1..3)),
            ("\"b\"", Wanted::Whole),
            ("W/\"a\"", Wanted::Whole),
            ("Sun, 22 Nov 2026 10:00:00 GMT", Wanted::Whole),
        ] {
            let headers = headers(&[range.clone(), (header::IF_RANGE, tag)]);
            assert_eq!(wanted(&headers, 9, "\"a\""), expected, "{tag}");
        }
    }
}
