//! Joining the ranges of needed pieces into ranges worth a request each.

use chunked_core::ByteRange;

use crate::costs::{Costs, Prefer};
use crate::decision::{Decision, Way};

/// Ranges to ask for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cover {
    /// Sorted, apart from each other, none empty.
    pub ranges: Vec<ByteRange>,
    /// Bytes wanted, each counted once.
    pub needed: u64,
    /// Sum of `ranges`.
    pub fetched: u64,
    /// Why these ranges.
    pub decision: Decision,
}

/// Covers every byte of `wanted`, filling gaps as the crate's documentation says. `metadata`: bytes fetched
/// for TOC and tar-split, which raise what may be spent on gaps.
pub(crate) fn cover(wanted: Vec<ByteRange>, metadata: u64, costs: &Costs) -> Cover {
    let parts = joined(wanted);
    let needed = total(&parts);
    let mut decision = Decision { costs: *costs, ..Decision::default() };
    let filled = filled_gaps(&parts, needed.saturating_add(metadata), costs);
    let mut ranges: Vec<ByteRange> = Vec::new();
    // Before the first part there is no gap to fill.
    for (part, filled) in parts.iter().zip(std::iter::once(false).chain(filled)) {
        match ranges.last_mut() {
            Some(last) if filled => last.end = part.end,
            _ => ranges.push(*part),
        }
    }
    let mut fetched = total(&ranges);
    if let (Some(first), Some(last)) = (ranges.first(), ranges.last()) {
        let span = ByteRange { start: first.start, end: last.end };
        decision.ranges_micros = costs.micros(fetched, ranges.len());
        decision.stream_micros = costs.micros(span.len(), 1);
        let saved = decision.ranges_micros.checked_sub(decision.stream_micros);
        let enough = if ranges.len() > Costs::MAX_RANGES { 0 } else { Costs::WORTH_MICROS };
        let stream = costs.prefer == Prefer::Time && saved.is_some_and(|saved| saved >= enough);
        if ranges.len() > 1 && stream {
            (fetched, ranges) = (span.len(), vec![span]);
        }
        decision.way = if ranges.len() == 1 { Way::Stream } else { Way::Ranges };
    }
    Cover { ranges, needed, fetched, decision }
}

/// Sorted, touching and overlapping ranges made one, empty ones left out.
fn joined(mut wanted: Vec<ByteRange>) -> Vec<ByteRange> {
    wanted.retain(|range| !range.is_empty());
    wanted.sort_unstable();
    wanted.dedup_by(|next, kept| {
        let touches = next.start <= kept.end;
        if touches {
            kept.end = kept.end.max(next.end);
        }
        touches
    });
    wanted
}

/// For each gap between neighbours of `parts` whether it is to be filled.
fn filled_gaps(parts: &[ByteRange], base: u64, costs: &Costs) -> Vec<bool> {
    let mut gaps: Vec<(u64, usize)> = parts
        .iter()
        .zip(parts.iter().skip(1))
        .map(|(before, after)| after.start.saturating_sub(before.end))
        .zip(0..)
        .collect();
    let all = gaps.iter().fold(0u64, |sum, (gap, _)| sum.saturating_add(*gap));
    if all <= share(base, Costs::NEGLIGIBLE_PERCENT) {
        return vec![true; gaps.len()];
    }
    gaps.sort_unstable();
    let affordable = if costs.ranges_per_request > 1 {
        affordable_parts(&gaps, base, costs)
    } else {
        affordable(&gaps, base, costs)
    };
    let ranges = gaps.len() - affordable + 1;
    let up_to = |most| affordable.max(gaps.partition_point(|(gap, _)| *gap <= most));
    let count = match costs.prefer {
        _ if ranges <= Costs::MAX_RANGES => affordable,
        Prefer::Bytes => up_to(Costs::HEADS),
        Prefer::Time => {
            let extra = gaps.iter().take(affordable).fold(0u64, |sum, (gap, _)| sum.saturating_add(*gap));
            // Compared without the needed bytes, which are the same either way.
            let slower = costs.micros(extra, ranges) > costs.micros(all, 1);
            if slower { up_to(costs.gap()) } else { affordable }
        }
    };
    let mut filled = vec![false; gaps.len()];
    for (_, index) in gaps.iter().take(count) {
        if let Some(filled) = filled.get_mut(*index) {
            *filled = true;
        }
    }
    filled
}

/// How many of `gaps`, sorted by size, can be filled within the limit for each and the budget in all.
fn affordable(gaps: &[(u64, usize)], base: u64, costs: &Costs) -> usize {
    let limit = costs.gap();
    let budget = |percent| share(base, percent).max(costs.free());
    let (normal, crowded) = (budget(Costs::EXTRA_PERCENT), budget(Costs::EXTRA_PERCENT_CROWDED));
    let mut extra = 0u64;
    let mut left = gaps.len();
    for (gap, _) in gaps {
        // As many ranges as gaps are left, and one.
        let budget = if left + 1 > Costs::MAX_RANGES { crowded } else { normal };
        extra = extra.saturating_add(*gap);
        if *gap > limit || extra > budget {
            break;
        }
        left -= 1;
    }
    gaps.len() - left
}

/// The same where one request asks for several ranges. More of them hardly take time then, but each has a header in
/// the body: that and the gaps together have a smaller budget.
fn affordable_parts(gaps: &[(u64, usize)], base: u64, costs: &Costs) -> usize {
    let limit = costs.gap();
    let budget = share(base, Costs::EXTRA_PERCENT_PARTS).max(costs.free());
    // At least those that are no longer than what they save.
    let mut affordable = gaps.partition_point(|(gap, _)| *gap <= Costs::PART_HEADER);
    let mut extra = 0u64;
    for (filled, (gap, _)) in gaps.iter().enumerate() {
        extra = extra.saturating_add(*gap);
        let headers = Costs::PART_HEADER.saturating_mul((gaps.len() - filled) as u64);
        if *gap > limit {
            break;
        }
        if extra.saturating_add(headers) <= budget {
            affordable = affordable.max(filled + 1);
        }
    }
    affordable
}

fn share(bytes: u64, percent: u64) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

/// Sum of the lengths of ranges that do not overlap.
pub(crate) fn total(ranges: &[ByteRange]) -> u64 {
    ranges.iter().fold(0, |sum: u64, range| sum.saturating_add(range.len()))
}

#[cfg(test)]
mod tests;
