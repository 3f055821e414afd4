//! An axis: a range, round ticks within it, and where a value falls on it.

/// A range of values with the words for what they are.
#[derive(Debug, Clone)]
pub(in super::super) struct Axis {
    /// What is measured, with its unit.
    pub label: String,
    low: f64,
    high: f64,
    whole: bool,
    /// Equal factors are equally far apart; both ends are positive.
    logarithmic: bool,
}

impl Axis {
    /// From one value to another. A range that is empty or not finite becomes one around `low`, or 0 to 1.
    pub fn between(label: impl Into<String>, low: f64, high: f64) -> Self {
        let (low, high) = match (low.is_finite(), high.is_finite()) {
            (true, true) => (low.min(high), low.max(high)),
            (true, false) => (low, low),
            (false, true) => (high, high),
            (false, false) => (0.0, 1.0),
        };
        // Below this the ticks could not be told apart in f64.
        let least = 1e-9 * low.abs().max(high.abs()).max(f64::MIN_POSITIVE * 1e12);
        let (low, high) = if high - low > least {
            (low, high)
        } else if low == 0.0 {
            (-0.5, 0.5)
        } else {
            (low - 0.1 * low.abs(), high + 0.1 * high.abs())
        };
        Self { label: label.into(), low, high, whole: false, logarithmic: false }
    }

    /// From the least to the greatest of the positive finite values, equal factors equally far apart. Values that are not positive have no
    /// place on it.
    pub fn logarithmic(label: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = extent(values.into_iter().filter(|value| *value > 0.0));
        if !(low.is_finite() && high.is_finite()) {
            return Self { logarithmic: true, ..Self::between(label, 1.0, 10.0) };
        }
        // One value alone stands in the middle of two decades.
        let (low, high) = if high / low < 1.01 { (low / 10.0, high * 10.0) } else { (low, high) };
        let margin = (high / low).powf(0.06);
        Self { label: label.into(), low: low / margin, high: high * margin, whole: false, logarithmic: true }
    }

    /// From the least to the greatest of the finite values, with a margin.
    pub fn fit(label: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = extent(values);
        let mut axis = Self::between(label, low, high);
        let margin = 0.04 * (axis.high - axis.low);
        axis.low -= margin;
        axis.high += margin;
        axis
    }

    /// From zero, which bars must show, past all values on either side of it.
    pub fn with_zero(label: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = extent(values.into_iter().chain([0.0]));
        let margin = 0.05 * (high - low);
        let end = |value: f64| if value == 0.0 { 0.0 } else { value + margin.copysign(value) };
        if low == high { Self::between(label, 0.0, 1.0) } else { Self::between(label, end(low), end(high)) }
    }

    /// With ticks at whole numbers only.
    pub fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    /// The lowest value.
    pub fn low(&self) -> f64 {
        self.low
    }

    /// The highest value.
    pub fn high(&self) -> f64 {
        self.high
    }

    /// Where a value falls, from 0 at the low end to 1 at the high end; nothing outside, nothing for NaN.
    pub fn place(&self, value: f64) -> Option<f64> {
        let scaled = |value: f64| if self.logarithmic { value.log10() } else { value };
        let place = (scaled(value) - scaled(self.low)) / (scaled(self.high) - scaled(self.low));
        (-1e-9..=1.0 + 1e-9).contains(&place).then_some(place)
    }

    /// Where a value falls, moved to the nearer end if it is outside; nothing for NaN.
    pub fn clamp(&self, value: f64) -> Option<f64> {
        if value.is_nan() { None } else { self.place(value.clamp(self.low, self.high)) }
    }

    /// Round values in the range with their labels: the finest steps of 1, 2 or 5 × 10ⁿ that give at most so many.
    pub fn ticks(&self, at_most: usize) -> Vec<(f64, String)> {
        if self.logarithmic
            && let Some(ticks) = self.decade_ticks(at_most)
        {
            return ticks;
        }
        let step = self.step(at_most.max(1));
        let first = (self.low / step - 1e-9).ceil();
        let last = (self.high / step + 1e-9).floor();
        let mut ticks = Vec::new();
        let mut index = first;
        while index <= last && ticks.len() < at_most.max(1) {
            // Adding zero turns a negative zero into a plain one.
            let value = index * step + 0.0;
            ticks.push((value, self.tick_label(value, step)));
            index += 1.0;
        }
        ticks
    }

    /// Powers of ten, and multiples of them by 2 and 5 or by 3 where there is room; nothing where fewer than two fall into the range.
    fn decade_ticks(&self, at_most: usize) -> Option<Vec<(f64, String)>> {
        let decades = (self.low.log10().floor() as i32)..=(self.high.log10().ceil() as i32);
        let values = |factors: &[f64]| -> Vec<f64> {
            let all = decades.clone().flat_map(|decade| factors.iter().map(move |factor| factor * 10f64.powi(decade)));
            all.filter(|value| self.place(*value).is_some()).collect()
        };
        let fits = |values: &Vec<f64>| (2..=at_most).contains(&values.len());
        let found = [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]].into_iter().map(values).find(fits)?;
        Some(found.into_iter().map(|value| (value, short(value))).collect())
    }

    fn step(&self, at_most: usize) -> f64 {
        let span = self.high - self.low;
        let mut power = 10f64.powf((span / at_most as f64).log10().floor());
        if self.whole {
            power = power.max(1.0);
        }
        loop {
            for factor in [1.0, 2.0, 5.0] {
                let step = factor * power;
                let ticks = (self.high / step + 1e-9).floor() - (self.low / step - 1e-9).ceil() + 1.0;
                if ticks <= at_most as f64 {
                    return step;
                }
            }
            power *= 10.0;
        }
    }

    fn tick_label(&self, value: f64, step: f64) -> String {
        let size = self.low.abs().max(self.high.abs());
        let (scale, unit) = match size {
            size if size >= 2e9 => (1e9, "G"),
            size if size >= 2e6 => (1e6, "M"),
            size if size >= 1e4 => (1e3, "k"),
            _ => (1.0, ""),
        };
        if !(1e-6..1e15).contains(&size) {
            return format!("{value:.1e}").replace('-', "−");
        }
        let decimals = (-(step / scale).log10() - 1e-9).ceil().clamp(0.0, 12.0) as usize;
        let text = super::super::format::fixed(value / scale, decimals);
        if value == 0.0 { text } else { text + unit }
    }
}

/// A round number in few letters: 200, 5k, 2M.
fn short(value: f64) -> String {
    let (scale, unit) = match value {
        value if value >= 1e9 => (1e9, "G"),
        value if value >= 1e6 => (1e6, "M"),
        value if value >= 1e3 => (1e3, "k"),
        _ => (1.0, ""),
    };
    if value < 1e-4 { format!("{value:.0e}") } else { format!("{}{unit}", (1e6 * value / scale).round() / 1e6) }
}

/// The least and the greatest finite value; NaN if there is none.
fn extent(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let finite = values.into_iter().filter(|value| value.is_finite());
    finite.fold((f64::NAN, f64::NAN), |(low, high), value| (low.min(value), high.max(value)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn labels(axis: &Axis, at_most: usize) -> Vec<String> {
        axis.ticks(at_most).into_iter().map(|tick| tick.1).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&Axis::between("", 0.0, 1.0), 6), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&Axis::between("", 0.7421, 0.7598), 5), ["0.745", "0.750", "0.755"]);
        assert_eq!(labels(&Axis::between("", 0.0, 1_234_567.0), 5), ["0", "500k", "1000k"]);
        assert_eq!(labels(&Axis::between("", 0.0, 9e6), 5), ["0", "2M", "4M", "6M", "8M"]);
        assert_eq!(labels(&Axis::between("", -3.0, 4.0), 4), ["−2", "0", "2", "4"]);
        assert_eq!(labels(&Axis::between("", 0.9, 3.2).whole(), 8), ["1", "2", "3"]);
        assert_eq!(labels(&Axis::between("", 0.0, 3e-8), 4), ["0.0e0", "1.0e−8", "2.0e−8", "3.0e−8"]);
    }

    #[test]
    fn ticks_are_never_too_many_and_always_inside() {
        let ends = [-1e300, -1e9, -7.3, -1e-12, 0.0, 1e-30, 0.3, 0.300_000_001, 5.0, 1e9, 1e300];
        for low in ends {
            for high in ends {
                for at_most in 1..9 {
                    let axis = Axis::between("", low, high);
                    let ticks = axis.ticks(at_most);
                    assert!(ticks.len() <= at_most, "{low} {high} {at_most}");
                    assert!(ticks.iter().all(|tick| axis.place(tick.0).is_some()), "{low} {high} {at_most} {ticks:?}");
                    assert!(at_most < 3 || !ticks.is_empty(), "{low} {high} {at_most}");
                }
            }
        }
    }

    #[test]
    fn a_logarithmic_axis_has_ticks_in_its_own_unit() {
        let bytes = Axis::logarithmic("", [18_000.0, 4_400_000.0, f64::NAN, 0.0]);
        assert_eq!(labels(&bytes, 6), ["30k", "100k", "300k", "1M", "3M"]);
        assert_eq!(labels(&Axis::logarithmic("", [2.0, 60.0]), 6), ["2", "5", "10", "20", "50"]);
        let (a, b, c) = (bytes.place(20_000.0), bytes.place(200_000.0), bytes.place(2_000_000.0));
        assert!((b.unwrap() - a.unwrap() - (c.unwrap() - b.unwrap())).abs() < 1e-12);
        assert_eq!(bytes.place(-1.0), None);
        let alone = Axis::logarithmic("", [185_000.0]);
        assert!((alone.place(185_000.0).unwrap() - 0.5).abs() < 1e-12);
        assert!(Axis::logarithmic("", []).low() > 0.0);
        // Within one factor of two the ticks are those of a plain axis.
        assert!(labels(&Axis::logarithmic("", [101_000.0, 140_000.0]), 6).len() >= 2);
    }

    #[test]
    fn ranges_survive_what_is_missing() {
        let empty = Axis::fit("", []);
        assert!(empty.low() < 0.0 && empty.high() > 1.0);
        let constant = Axis::fit("", [0.5, 0.5, f64::NAN]);
        assert!(constant.low() < 0.5 && constant.high() > 0.5);
        let zero = Axis::fit("", [0.0]);
        assert!(zero.low() < 0.0 && zero.high() > 0.0);
        let infinite = Axis::fit("", [1.0, f64::INFINITY, 2.0]);
        assert!(infinite.high() < 3.0);
        assert_eq!(Axis::with_zero("", [3.0, 8.0]).low(), 0.0);
        assert_eq!(Axis::with_zero("", [-3.0]).high(), 0.0);
        assert_eq!(Axis::with_zero("", [f64::NAN]).high(), 1.0);
    }

    #[test]
    fn places() {
        let axis = Axis::between("", 2.0, 4.0);
        assert_eq!(axis.place(3.0), Some(0.5));
        assert_eq!(axis.place(4.5), None);
        assert_eq!(axis.place(f64::NAN), None);
        assert_eq!(axis.clamp(4.5), Some(1.0));
        assert_eq!(axis.clamp(f64::INFINITY), Some(1.0));
        assert_eq!(axis.clamp(f64::NAN), None);
    }
}
