"""A bar chart of seconds as SVG: a group of bars for each pull, readable on light and dark pages."""
from xml.sax.saxutils import escape

WIDTH, LABELS, ROW, GAP, TITLE = 820, 190, 20, 18, 26
OURS, PEER = "#2f6fdf", "#9aa4b2"


def svg(groups):
    """`groups`: (title, [(name, whether it is ours, seconds)])."""
    longest = max((seconds for _, bars in groups for _, _, seconds in bars), default=1.0)
    lines, y = [], GAP
    for title, bars in groups:
        lines.append('<text x="0" y="%d" font-weight="bold">%s</text>' % (y + 12, escape(title)))
        y += TITLE
        for name, ours, seconds in sorted(bars, key=lambda bar: bar[2]):
            width = (WIDTH - LABELS - 60) * seconds / longest
            lines.append('<text x="%d" y="%d" text-anchor="end">%s</text>' % (LABELS - 8, y + 13, escape(name)))
            lines.append('<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>' % (LABELS, y + 2, width, ROW - 5, OURS if ours else PEER))
            lines.append('<text x="%.1f" y="%d">%.1f s</text>' % (LABELS + width + 6, y + 13, seconds))
            y += ROW
        y += GAP
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" role="img" aria-label="Seconds of each pull; shorter is better">\n'
            "<style>text{font:13px sans-serif;fill:#1f2328}@media(prefers-color-scheme:dark){text{fill:#e6edf3}}</style>\n%s\n</svg>\n"
            % (WIDTH, y, WIDTH, "\n".join(lines)))
