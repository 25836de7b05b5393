"""Reports: what happened, and its views."""

from initium.report.report import Entry as Entry
from initium.report.report import Report as Report
