//! What names of columns say.

/// Words for who acts and for what is acted on, the likelier ones first.
pub(super) const USERS: [&str; 23] = [
    "user",
    "uid",
    "visitor",
    "customer",
    "member",
    "reviewer",
    "account",
    "client",
    "viewer",
    "buyer",
    "shopper",
    "subscriber",
    "player",
    "listener",
    "reader",
    "patient",
    "student",
    "person",
    "profile",
    "device",
    "cookie",
    "msno",
    "session",
];
pub(super) const ITEMS: [&str; 39] = [
    "item",
    "iid",
    "product",
    "movie",
    "film",
    "video",
    "article",
    "news",
    "song",
    "track",
    "book",
    "game",
    "app",
    "post",
    "photo",
    "asin",
    "sku",
    "goods",
    "creative",
    "ad",
    "business",
    "doc",
    "document",
    "content",
    "listing",
    "offer",
    "recipe",
    "restaurant",
    "venue",
    "poi",
    "job",
    "course",
    "hotel",
    "isbn",
    "show",
    "episode",
    "page",
    "location",
    "link",
];
/// Words before and behind these that do not change what they name.
const BEFORE: [&str; 7] = ["full", "anonymous", "external", "internal", "parent", "target", "dim"];
const BEHIND: [&str; 17] = [
    "id", "ids", "key", "uuid", "guid", "hash", "code", "no", "nr", "number", "num", "pk", "sk", "idx", "index",
    "pseudo", "token",
];
/// What times are called.
pub(super) const TIMES: [&str; 9] = ["timestamp", "ts", "time", "datetime", "at", "date", "epoch", "when", "unixtime"];
/// Outcomes of yes and no, the ones that come first in a chain first.
pub(super) const OUTCOMES: [&str; 46] = [
    "click",
    "clicked",
    "isclick",
    "clk",
    "label",
    "target",
    "y",
    "longview",
    "like",
    "liked",
    "islike",
    "favorite",
    "favorited",
    "saved",
    "shared",
    "upvoted",
    "recommended",
    "finished",
    "cart",
    "addtocart",
    "conversion",
    "converted",
    "isconversion",
    "purchase",
    "purchased",
    "ispurchase",
    "buy",
    "bought",
    "isbuy",
    "order",
    "ordered",
    "isorder",
    "install",
    "installed",
    "subscribed",
    "responded",
    "response",
    "accepted",
    "booked",
    "applied",
    "churn",
    "churned",
    "engaged",
    "outcome",
    "success",
    "won",
];
/// Those that follow a click.
pub(super) const AFTER_CLICK: [&str; 17] = [
    "cart",
    "addtocart",
    "conversion",
    "converted",
    "isconversion",
    "purchase",
    "purchased",
    "ispurchase",
    "buy",
    "bought",
    "isbuy",
    "order",
    "ordered",
    "isorder",
    "install",
    "installed",
    "booked",
];
pub(super) const GRADED: [&str; 9] =
    ["rating", "stars", "score", "overall", "grade", "ratings", "userrating", "reviewscore", "reviewrating"];
pub(super) const POSITIONS: [&str; 8] =
    ["position", "displayposition", "pos", "rank", "itemposition", "displayrank", "impressionposition", "listposition"];
pub(super) const TREATMENTS: [&str; 3] = ["treatment", "arm", "variant"];
pub(super) const PROPENSITIES: [&str; 2] = ["propensity", "propensityscore"];
pub(super) const WEIGHTS: [&str; 2] = ["weight", "sampleweight"];
pub(super) const SCENARIOS: [&str; 5] = ["scenario", "scene", "domain", "tab", "surface"];
/// Columns that say what kind of event a row is.
pub(super) const EVENTS: [&str; 16] = [
    "eventtype",
    "eventname",
    "event",
    "action",
    "actiontype",
    "behavior",
    "behaviour",
    "behaviortype",
    "behaviourtype",
    "interaction",
    "interactiontype",
    "activity",
    "activitytype",
    "feedbacktype",
    "verb",
    "type",
];
/// Those of them that cannot say anything else.
pub(super) const EVENT_KINDS: [&str; 7] =
    ["eventtype", "eventname", "actiontype", "behaviortype", "behaviourtype", "interactiontype", "feedbacktype"];
/// Parts of names, and whole words, of what is only known afterwards.
const AFTERWARDS: [&str; 17] = [
    "playtime",
    "watchtime",
    "watchratio",
    "staytime",
    "timespent",
    "readtime",
    "viewtime",
    "listentime",
    "msplayed",
    "playedms",
    "playduration",
    "watchduration",
    "iscomment",
    "isforward",
    "isfollow",
    "ishate",
    "isprofileenter",
];
const AFTERWARDS_WORDS: [&str; 19] = [
    "dwell",
    "visit",
    "spend",
    "spent",
    "paid",
    "revenue",
    "gmv",
    "profit",
    "watched",
    "played",
    "completion",
    "refund",
    "refunded",
    "returned",
    "reward",
    "ltv",
    "sales",
    "earnings",
    "margin",
];
/// Words of what a model said, or was counted over rows that come later too.
const MODELS: [&str; 10] =
    ["pred", "prediction", "predicted", "logit", "prob", "probability", "pctr", "pcvr", "ctr", "cvr"];
/// Words before `id` of what names a row or a visit, not a thing that comes again.
const PASSING: [&str; 15] = [
    "session",
    "request",
    "impression",
    "event",
    "order",
    "transaction",
    "visit",
    "trace",
    "pageview",
    "log",
    "row",
    "record",
    "message",
    "insert",
    "offset",
];
/// What row numbers are called: by pandas, by R, and by people.
const ROW_NUMBERS: [&str; 10] =
    ["", "unnamed", "index", "indexlevel0", "level0", "rownames", "rowname", "rownumber", "rowid", "rownum"];
/// Words of what is counted or measured.
const MEASURES: [&str; 24] = [
    "price", "age", "count", "num", "amount", "duration", "days", "length", "size", "total", "quantity", "qty",
    "views", "ms", "hours", "weeks", "income", "value", "cost", "weight", "height", "distance", "lat", "lon",
];

/// A name without its type, its case and what is between its words.
pub(super) fn plain(name: &str) -> String {
    let name = name.split(':').next().unwrap_or(name);
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// The words of a name, in lower case: `playTime` and `play_time` are `play` and `time`.
pub(super) fn words(name: &str) -> Vec<String> {
    let name = name.split(':').next().unwrap_or(name);
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in name.chars() {
        if (letter.is_uppercase() && was_lower) || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        was_lower = letter.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a name is one of a list, as a whole or behind the dots of members of objects.
pub(super) fn is_one_of(name: &str, list: &[&str]) -> bool {
    rank(name, list).is_some()
}

/// The place of a name in a list.
pub(super) fn rank(name: &str, list: &[&str]) -> Option<usize> {
    let last = name.rsplit('.').next().unwrap_or(name);
    let (whole, last) = (plain(name), plain(last));
    list.iter().position(|wanted| *wanted == whole || *wanted == last)
}

/// The place in a list of the word that a name is the id of: `userId`, `user_pseudo_id`, `payload.user` and `USERID` are of `user`.
pub(super) fn id_of(name: &str, list: &[&str]) -> Option<usize> {
    let mut words = words(name);
    // Members of objects: `user.id`, `payload.user_id`.
    if name.contains('.') {
        let parts: Vec<&str> = name.split('.').collect();
        let kept =
            parts.len() - parts.len().min(if BEHIND.contains(&plain(parts[parts.len() - 1]).as_str()) { 2 } else { 1 });
        words = self::words(&parts[kept..].join("_"));
    }
    while words.len() > 1 && words.last().is_some_and(|word| BEHIND.contains(&word.as_str())) {
        words.pop();
    }
    while words.len() > 1 && words.first().is_some_and(|word| BEFORE.contains(&word.as_str())) {
        words.remove(0);
    }
    let [word] = words.as_slice() else { return None };
    let bare = |word: &str| {
        let stem = BEHIND.iter().find_map(|end| word.strip_suffix(end)).filter(|stem| !stem.is_empty());
        stem.map(str::to_owned)
    };
    let find = |word: &str| list.iter().position(|wanted| *wanted == word);
    find(word).or_else(|| find(&bare(word)?))
}

/// Whether a word of a name is one of a list.
pub(super) fn has_word(name: &str, list: &[&str]) -> bool {
    words(name).iter().any(|word| list.contains(&word.as_str()))
}

/// Why a column is no feature, for what its name says; `None` where it says nothing against it.
pub(super) fn leak(name: &str) -> Option<&'static str> {
    let whole = plain(name);
    match () {
        () if is_one_of(name, &OUTCOMES) || is_one_of(name, &GRADED) => Some("looks like another outcome"),
        () if AFTERWARDS.iter().any(|part| whole.contains(part)) || has_word(name, &AFTERWARDS_WORDS) => {
            Some("looks like what is known only afterwards")
        }
        () if has_word(name, &MODELS) => Some("looks like what a model said or later rows were counted for"),
        () => None,
    }
}

/// Whether a name says that a value names one row or visit.
pub(super) fn is_passing_id(name: &str) -> bool {
    let words = words(name);
    let named = words.iter().any(|word| PASSING.contains(&word.as_str()));
    let id = |word: &String| ["id", "uuid", "guid", "key", "no", "number", "offset"].contains(&word.as_str());
    let joined = |word: &String| word.strip_suffix("id").is_some_and(|stem| PASSING.contains(&stem));
    (named && words.iter().any(id)) || words.iter().any(joined)
}

/// Whether a name is one for row numbers.
pub(super) fn is_row_number(name: &str) -> bool {
    ROW_NUMBERS.contains(&plain(name).as_str())
}

/// Whether a name says that integers count or measure something.
pub(super) fn measures(name: &str) -> bool {
    has_word(name, &MEASURES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_words() {
        assert_eq!(words("priceUSD"), ["price", "usd"]);
        assert_eq!(words("D_101"), ["d", "101"]);
        assert_eq!(words("country:token"), ["country"]);
        assert_eq!(words("__index"), ["index"]);
    }

    #[test]
    fn who_and_what() {
        for name in [
            "user",
            "userId",
            "USERID",
            "user_pseudo_id",
            "user.id",
            "payload.user_id",
            "payload.user",
            "fullVisitorId",
            "uid",
        ] {
            assert!(id_of(name, &USERS).is_some(), "{name}");
        }
        for name in ["user_age", "new_user_flag", "user.age", "username", "user_country"] {
            assert_eq!(id_of(name, &USERS), None, "{name}");
        }
        assert!(id_of("item", &ITEMS) < id_of("article_id", &ITEMS));
        assert!(id_of("parent_asin", &ITEMS).is_some() && id_of("category_id", &ITEMS).is_none());
    }

    #[test]
    fn what_no_feature_may_know() {
        for name in ["dwell_time", "play_time_ms", "watch_ratio", "order_revenue", "purchased", "pCTR", "rating"] {
            assert!(leak(name).is_some(), "{name}");
        }
        for name in ["visitor_type", "price", "playlist", "runtime", "category"] {
            assert_eq!(leak(name), None, "{name}");
        }
        assert!(is_passing_id("session_id") && is_passing_id("orderId") && is_passing_id("transactionid"));
        assert!(!is_passing_id("brand_id") && !is_passing_id("order"));
        assert!(is_row_number("Unnamed: 0") && is_row_number("") && is_row_number("__index_level_0__"));
    }
}
