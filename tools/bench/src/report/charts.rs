//! Charts as SVG. Their colours are the light ones of [`colours`]; the page's style puts variables over them, so that they
//! are right in the dark too.

use std::{error::Error, ops::Range};

use plotters::{
    coord::ranged1d::{DefaultFormatting, KeyPointHint},
    prelude::*,
};

use crate::results::Subject;

const SIZE: (u32, u32) = (620, 340);
/// What is drawn in these becomes the page's own text and lines.
const TEXT: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);

pub(super) struct Chart {
    /// What to read from it.
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
}

pub(super) struct Axis {
    /// What it counts, with its unit.
    pub(super) label: String,
    pub(super) logarithmic: bool,
    /// Marks only where there are values.
    pub(super) marks_values: bool,
    pub(super) show: fn(f64) -> String,
}

pub(super) struct Series {
    pub(super) name: String,
    pub(super) subject: Subject,
    pub(super) dashed: bool,
    pub(super) points: Vec<(f64, f64)>,
}

/// A subject's colours, on white and on black: those of Okabe and Ito, which colour-blind people can tell apart, and
/// shades of them.
pub(super) const fn colours(subject: Subject) -> (&'static str, &'static str) {
    match subject {
        Subject::Disk => ("#6B7280", "#9CA3AF"),
        Subject::Redb => ("#0072B2", "#4FB0EA"),
        Subject::Sqlite => ("#D55E00", "#FF8A3D"),
        Subject::RawRedb => ("#56B4E9", "#A9DBF7"),
        Subject::RawSqlite => ("#E69F00", "#F7C65C"),
        Subject::PerCallRedb => ("#009E73", "#3CCBA2"),
        Subject::PerCallSqlite => ("#CC79A7", "#E9A6CB"),
        Subject::Held => ("#8C8200", "#E4DA4A"),
        Subject::Fjall => ("#8C564B", "#CBA094"),
    }
}

fn colour(subject: Subject) -> RGBColor {
    let number = u32::from_str_radix(colours(subject).0.trim_start_matches('#'), 16).unwrap_or_default();
    let [_, red, green, blue] = number.to_be_bytes();
    RGBColor(red, green, blue)
}

/// Where an axis begins and ends, and its marks, in its own coordinates.
struct Scale {
    from: f64,
    to: f64,
    marks: Vec<f64>,
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let share = (value - self.from) / (self.to - self.from);
        first + (f64::from(last - first) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        if self.logarithmic { value.log10() } else { value }
    }

    fn scale(&self, values: &[f64]) -> Option<Scale> {
        let least = values.iter().copied().min_by(f64::total_cmp)?;
        let most = values.iter().copied().max_by(f64::total_cmp)?;
        if self.marks_values {
            let mut marks: Vec<_> = values.iter().map(|value| self.place(*value)).collect();
            marks.sort_by(f64::total_cmp);
            marks.dedup();
            let margin = ((self.place(most) - self.place(least)) * 0.05).max(0.05);
            return Some(Scale { from: self.place(least) - margin, to: self.place(most) + margin, marks });
        }
        if self.logarithmic {
            let (from, to) = (least.log10() - 0.08, most.log10() + 0.08);
            return Some(Scale { from, to, marks: logarithmic_marks(from, to) });
        }
        let step = round_step(most / 5.0);
        let marks: Vec<_> =
            (0..=6).map(|mark| f64::from(mark) * step).take_while(|mark| *mark <= most + step).collect();
        Some(Scale {
            from: 0.0,
            to: most * 1.08,
            marks: marks.into_iter().filter(|mark| *mark <= most * 1.08).collect(),
        })
    }
}

/// Round values between these powers of ten: of each decade as few as make three marks.
fn logarithmic_marks(from: f64, to: f64) -> Vec<f64> {
    let of_tenths = |tenths: &[u32]| -> Vec<f64> {
        let decades = from.floor() as i32..=to.ceil() as i32;
        let marks =
            decades.flat_map(|decade| tenths.iter().map(move |it| f64::from(decade) + (f64::from(*it) / 10.0).log10()));
        marks.filter(|mark| (from..=to).contains(mark)).collect()
    };
    let every: Vec<u32> = (10..100).collect();
    let candidates = [&[10][..], &[10, 20, 50], &[10, 20, 30, 40, 50, 60, 70, 80, 90]].map(of_tenths);
    candidates.into_iter().find(|marks| marks.len() > 2).unwrap_or_else(|| of_tenths(&every))
}

/// The smallest of 1, 2, 5, 10, 20, … that is not below.
fn round_step(least: f64) -> f64 {
    let decade = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().map(|step| step * decade).find(|step| *step >= least * 0.999);
    step.unwrap_or(10.0 * decade)
}

impl Chart {
    /// The chart; `None` where there is nothing to draw a line of.
    pub(super) fn svg(&self) -> Option<String> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let drawable =
            |axis: &Axis, value: f64| value.is_finite() && (value > 0.0 || (value == 0.0 && !axis.logarithmic));
        let has_line = self.series.iter().any(|series| series.points.len() > 1);
        if !has_line || !points().all(|(x, y)| drawable(&self.x, *x) && drawable(&self.y, *y)) {
            return None;
        }
        let x = self.x.scale(&points().map(|(x, _)| *x).collect::<Vec<_>>())?;
        let y = self.y.scale(&points().map(|(_, y)| *y).collect::<Vec<_>>())?;
        if !(x.to > x.from && y.to > y.from) {
            return None;
        }
        let mut svg = String::new();
        self.draw(x, y, &mut svg).ok()?;
        // It is as wide as there is room for.
        let (width, height) = SIZE;
        let sized = format!("<svg width=\"{width}\" height=\"{height}\" ");
        Some(svg.replacen(&sized, "<svg role=\"img\" ", 1))
    }

    fn draw(&self, x: Scale, y: Scale, svg: &mut String) -> Result<(), Box<dyn Error>> {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let (from, to) = (x.from, x.to);
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .margin_right(28)
            .x_label_area_size(56)
            .y_label_area_size(92)
            .build_cartesian_2d(x, y)?;
        let unplaced = |axis: &Axis, at: f64| (axis.show)(if axis.logarithmic { 10_f64.powf(at) } else { at });
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .disable_x_mesh()
            .label_style(("sans-serif", 19, &TEXT))
            .axis_desc_style(("sans-serif", 19, &TEXT))
            .x_desc(self.x.label.as_str())
            .y_desc(self.y.label.as_str())
            .x_label_formatter(&|at| unplaced(&self.x, *at))
            .y_label_formatter(&|at| unplaced(&self.y, *at))
            .draw()?;
        for series in &self.series {
            let colour = colour(series.subject);
            let mut places: Vec<_> = series.points.iter().map(|(x, y)| (self.x.place(*x), self.y.place(*y))).collect();
            // A single value is a level that the others are compared with.
            if let [(_, level)] = places[..] {
                places = vec![(from, level), (to, level)];
            }
            let style = colour.stroke_width(if series.dashed { 2 } else { 3 });
            match series.dashed {
                true => chart.draw_series(DashedLineSeries::new(places.iter().copied(), 7, 5, style)).map(|_| ())?,
                false => chart.draw_series(LineSeries::new(places.iter().copied(), style)).map(|_| ())?,
            }
            if (2..=12).contains(&series.points.len()) {
                chart.draw_series(places.iter().map(|place| Circle::new(*place, 4, colour.filled())))?;
            }
        }
        root.present()?;
        Ok(())
    }
}

/// The style that puts the page's colours over those of the charts.
pub(super) fn style(subjects: &[Subject]) -> String {
    let declared = |pick: fn((&'static str, &'static str)) -> &'static str| {
        subjects.iter().map(|it| format!("--{it}:{};", pick(colours(*it)))).collect::<String>()
    };
    let mut style = format!(
        ":root{{{}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{}}}}}\n",
        declared(|(light, _)| light),
        declared(|(_, dark)| dark),
    );
    let drawn = subjects.iter().map(|it| (colours(*it).0, format!("var(--{it})")));
    let neutral = [("#010101", "var(--text)".to_owned()), ("#020202", "var(--rule)".to_owned())];
    for (colour, shown) in drawn.chain(neutral) {
        style
            .push_str(&format!("svg [stroke=\"{colour}\"]{{stroke:{shown}}}svg [fill=\"{colour}\"]{{fill:{shown}}}\n"));
    }
    for subject in subjects {
        style.push_str(&format!(".of-{subject}{{--of:var(--{subject})}}\n"));
    }
    style
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithmic_axis_has_round_marks_however_short_or_long_it_is() {
        for (from, to) in [(2.2, 2.9), (2.0, 4.9), (30.0, 700.0), (1.0, 1e6)] {
            let marks: Vec<_> =
                logarithmic_marks(f64::log10(from), f64::log10(to)).iter().map(|it| 10_f64.powf(*it)).collect();
            assert!((3..=12).contains(&marks.len()), "{marks:?}");
            assert!(marks.iter().all(|mark| (from * 0.999..=to * 1.001).contains(mark)), "{marks:?}");
        }
    }

    #[test]
    fn a_chart_that_cannot_be_drawn_is_none() {
        let axis =
            |logarithmic| Axis { label: "it".into(), logarithmic, marks_values: false, show: |it| it.to_string() };
        let chart = |points: &[(f64, f64)], logarithmic| {
            let series = Series { name: "it".into(), subject: Subject::Redb, dashed: false, points: points.to_vec() };
            Chart { title: "it".into(), x: axis(false), y: axis(logarithmic), series: vec![series] }.svg()
        };
        assert!(chart(&[(1.0, 1.0), (2.0, 5.0)], true).is_some());
        assert!(chart(&[(1.0, 0.0), (2.0, 5.0)], false).is_some());
        assert!(chart(&[(1.0, 0.0), (2.0, 5.0)], true).is_none());
        assert!(chart(&[(1.0, f64::NAN), (2.0, 5.0)], false).is_none());
        assert!(chart(&[(1.0, 1.0)], true).is_none());
        assert!(chart(&[], true).is_none());
    }
}
