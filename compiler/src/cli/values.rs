//! Values of options, read from text.

use adntn_compiler::Metric;

/// Parses `0.01` or `1%`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |n| (n, 100.0));
    match number.trim().parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&(value / whole)) => Ok(value / whole),
        _ => Err("give a share between 0 and 1, or percent such as 1%".into()),
    }
}

/// Parses a share above 0 and below 1.
pub(super) fn confidence(text: &str) -> Result<f64, String> {
    share(text)
        .ok()
        .filter(|&c| c > 0.0 && c < 1.0)
        .ok_or_else(|| "give a share above 0% and below 100%, such as 95%".into())
}

/// Parses `top-class` or `scores=top-class`.
pub(super) fn metric(text: &str) -> Result<(Option<String>, Metric), String> {
    match text.rsplit_once('=') {
        Some((output, name)) => Ok((Some(output.to_owned()), name.parse()?)),
        None => Ok((None, text.parse()?)),
    }
}

pub(super) fn number(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|r: &f32| r.is_finite()).ok_or_else(|| "give a number".into())
}

/// Parses a ratio of 1 or more.
pub(super) fn ratio(text: &str) -> Result<f64, String> {
    text.trim_end_matches(['x', '×'])
        .parse()
        .ok()
        .filter(|r: &f64| r.is_finite() && *r >= 1.0)
        .ok_or_else(|| "give a number of 1 or more".into())
}

/// Parses `224` or `224x160`.
pub(super) fn size(text: &str) -> Result<(usize, usize), String> {
    let (height, width) = text.split_once(['x', '×']).unwrap_or((text, text));
    let side = |text: &str| text.trim().parse().ok().filter(|n| (1..=1 << 14).contains(n));
    side(height).zip(side(width)).ok_or_else(|| "give a number of pixels, or height and width such as 224x160".into())
}

pub(super) fn positive(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|r: &f32| r.is_finite() && *r > 0.0).ok_or_else(|| "give a positive number".into())
}

/// Parses `value=0.5`.
pub(super) fn weighted(text: &str) -> Result<(String, f32), String> {
    let (name, weight) = text.rsplit_once('=').unwrap_or((text, "1"));
    Ok((name.to_owned(), positive(weight)?))
}

pub(super) fn named<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: T::Err| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_percent() {
        assert_eq!(share("0.02"), Ok(0.02));
        assert_eq!(share("2%"), Ok(0.02));
        assert_eq!(share("95%"), Ok(0.95));
        assert!(share("2").is_err() && share("-1%").is_err() && share("NaN").is_err() && share("x").is_err());
    }
}
