//! The page as a whole: well formed, self-contained, finite and safe whatever the data says.
#![allow(clippy::unwrap_used)]

use super::sample::sample;
use super::*;

/// Reports side by side, as a page.
fn compared(reports: &[Report]) -> String {
    compare(&Comparison::new(reports, &[]).unwrap())
}

/// The page's elements as XML, in which the file is also valid but for its doctype and its `meta` elements.
fn xml(page: &str) -> String {
    let body = page.strip_prefix("<!DOCTYPE html>").unwrap();
    let mut text = String::new();
    let mut rest = body;
    while let Some(start) = rest.find("<meta ") {
        let end = start + rest[start..].find('>').unwrap();
        text.push_str(&rest[..end]);
        text.push('/');
        rest = &rest[end..];
    }
    text + rest
}

/// Checks what every page must keep, and returns its visible text.
fn check(page: &str) -> String {
    let xml = xml(page);
    let document = roxmltree::Document::parse(&xml).unwrap();
    let all = || document.root_element().descendants();
    for node in all().filter(|node| node.is_element()) {
        let name = node.tag_name().name();
        assert!(!["script", "link", "img", "iframe", "object", "foreignObject", "use"].contains(&name), "{name}");
        for attribute in node.attributes() {
            let (key, value) = (attribute.name(), attribute.value());
            assert!(!key.starts_with("on") && key != "style", "{key}");
            assert!(!matches!(key, "href" | "src") || value.starts_with('#'), "{key}={value}");
            let is_drawing = ["d", "x", "y", "cx", "cy", "width", "height", "viewBox", "fill-opacity"].contains(&key);
            assert!(!is_drawing || !["NaN", "inf"].iter().any(|word| value.contains(word)), "{name} {key}={value}");
        }
        if name == "section" || name == "a" {
            let link = node.attribute("href").map(|link| &link[1..]).or(node.attribute("id")).unwrap();
            assert_eq!(all().filter(|node| node.attribute("id") == Some(link)).count(), 1, "{link}");
        }
        if name == "figure" {
            let find = |name: &str| node.descendants().find(|inner| inner.tag_name().name() == name);
            assert!(
                find("figcaption").and_then(|caption| caption.last_element_child()).unwrap().text().unwrap().len() > 10
            );
            assert!(find("svg").is_some() && find("table").is_some());
        }
        if name == "svg" {
            assert!(node.attribute("aria-label").is_some() || node.attribute("aria-hidden").is_some());
        }
    }
    let style = all().find(|node| node.tag_name().name() == "style").unwrap().text().unwrap();
    assert!(!style.contains("url(") && !style.contains("@import"));
    let is_shown =
        |node: &roxmltree::Node<'_, '_>| node.is_text() && node.parent().unwrap().tag_name().name() != "style";
    let text: Vec<_> = all().filter(is_shown).map(|node| node.text().unwrap()).collect();
    let text = text.join("\n");
    assert!(!text.contains("NaN") && !text.split(|c: char| !c.is_alphanumeric()).any(|word| word == "inf"));
    text
}

/// Set `KITESTRING_KEEP_PAGES` to a folder to look at the pages that the tests make.
fn keep(name: &str, page: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = std::env::var_os("KITESTRING_KEEP_PAGES").map_or(folder.path().to_path_buf(), Into::into).join(name);
    std::fs::write(&path, page).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), page);
}

#[test]
fn a_full_report_is_a_sound_page() {
    let page = html(&sample(0.0));
    keep("report.html", &page);
    let text = check(&page);
    let said = [
        "0.739",
        "0.770",
        "0.8",
        "weights kept",
        "Malformed rows left out",
        "12 of 2,000,012 (under 0.01",
        "2024-01-01 00:00",
        "1.2\u{a0}%",
        "HR@K",
        "NDCG@K",
        "0.7100 (0.7000 to 0.7200)",
        "Heterogeneity 3.42",
        "bootstrap over users",
        "81,233 samples/s",
        "612 MiB",
        "learning_rate = 0.001",
        "One seed:",
        "It is undefined for 1 of 5 groups.",
        "97.2\u{a0}%",
        "0.21 ms",
    ];
    for words in said {
        assert!(text.contains(words), "{words}");
    }
    assert!(page.len() < 400_000, "{} bytes", page.len());
}

#[test]
fn runs_compared_are_a_sound_page() {
    let mut other = sample(0.011);
    other.rankings.clear();
    let page = compared(&[sample(0.0), other, sample(0.002)]);
    keep("compare.html", &page);
    let text = check(&page);
    for words in ["A · din-esmm base", "B · din-esmm wide", "train.learning_rate", "HR@10", "B is highest"] {
        assert!(text.contains(words), "{words}");
    }
    check(&compared(&[]));
    check(&compared(&vec![sample(0.001); 30]));
}

#[test]
fn an_empty_report_is_a_page_without_sections() {
    let page = html(&Report::default());
    check(&page);
    assert!(!page.contains("<h2>"));
}

#[test]
fn empty_parts_are_left_out() {
    let report = Report {
        summary: Some(DataSummary::default()),
        learning: Some(Learning::default()),
        tasks: vec![Task::default()],
        groupings: vec![Grouping::default()],
        attention: Some(Attention::default()),
        rankings: vec![Ranking::default()],
        importance: vec![Importance::default()],
        index: Some(Index::default()),
        speed: Some(Speed::default()),
        ..Report::default()
    };
    let page = html(&report);
    check(&page);
    assert!(!page.contains("<h2>What each") && !page.contains("<figure>"), "{page}");
}

/// Replaces every number of a JSON value by what `with` gives.
fn replace(value: &mut serde_json::Value, with: &impl Fn() -> serde_json::Value) {
    match value {
        serde_json::Value::Number(number) if number.is_f64() => *value = with(),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| replace(item, with)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, with)),
        _ => {}
    }
}

#[test]
fn numbers_that_are_missing_constant_or_extreme_do_no_harm() {
    for number in [None, Some(0.0), Some(1.0), Some(-1e300), Some(f64::MIN_POSITIVE)] {
        let mut value = serde_json::to_value(sample(0.0)).unwrap();
        replace(&mut value, &|| serde_json::json!(number));
        // A list of pairs keeps its places, so null is refused only where a number must be.
        value["environment"] = serde_json::json!([]);
        if number.is_none() {
            value["speed"] = serde_json::Value::Null;
            value["learning"]["stopped"] = serde_json::Value::Null;
        }
        let report: Report = serde_json::from_value(value).unwrap();
        check(&html(&report));
        check(&compared(&[report.clone(), report]));
    }
}

#[test]
fn lists_of_unequal_length_do_no_harm() {
    let mut report = sample(0.0);
    let history = report.summary.as_mut().unwrap().history_length.as_mut().unwrap();
    history.edges.truncate(3);
    let joint = report.truth[0].joint.as_mut().unwrap();
    joint.edges.truncate(5);
    joint.counts[1].clear();
    report.tasks[0].roc.truncate(1);
    check(&html(&report));
    report.truth[0].joint.as_mut().unwrap().edges.clear();
    check(&html(&report));
}

/// Puts a hostile text in place of every text of a JSON value.
fn poison(value: &mut serde_json::Value, text: &str) {
    match value {
        serde_json::Value::String(words) => *words = text.into(),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| poison(item, text)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| poison(field, text)),
        _ => {}
    }
}

#[test]
fn hostile_names_stay_text() {
    let hostile =
        "</title></style><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp; https://example.com/x";
    let mut value = serde_json::to_value(sample(0.0)).unwrap();
    poison(&mut value, hostile);
    // Fingerprints are numbers, and refused where they are none.
    assert!(serde_json::from_value::<Report>(value.clone()).is_err());
    value["judged"] = serde_json::json!([]);
    let report: Report = serde_json::from_value(value).unwrap();
    for page in [html(&report), compared(&[report.clone(), report])] {
        let text = check(&page);
        assert!(text.contains(hostile));
        assert!(!page.contains("<script") && !page.contains("<img"));
    }
}

#[test]
fn a_report_survives_json_with_its_gaps() {
    let report = sample(0.0);
    let text = report.to_json().unwrap();
    let read = Report::from_json(&text).unwrap();
    assert_eq!(html(&read), html(&report));
    assert!(read.groupings[0].groups[4].estimate.value.is_nan());
    assert_eq!(read.to_json().unwrap(), text);

    let other = text.replacen("\"format\":1", "\"format\":2", 1);
    assert!(Report::from_json(&other).unwrap_err().to_string().contains("format 2"));
    assert!(Report::from_json(&text[..text.len() / 2]).is_err());
    assert!(Report::from_json("{\"format\":1,\"report\":{\"title\":3}}").is_err());
}

#[test]
fn histograms_count_what_lies_between_their_edges() {
    let edges = vec![0.0, 1.0, 2.0];
    let histogram = Histogram::of([-0.1, 0.0, 0.5, 1.0, 2.0, 2.1, f64::NAN], edges.clone());
    assert_eq!(histogram.counts, [2, 2]);
    let joint = Joint::of([(0.5, 1.5), (0.5, 1.5), (2.0, 0.0), (3.0, 0.0), (0.0, f64::NAN)], edges);
    assert_eq!(joint.counts, [[0, 2], [1, 0]]);
    assert_eq!(Histogram::of([1.0], Vec::new()), Histogram::default());
    assert!(Histogram::of([1.0], vec![1.0]).counts.is_empty());
}
