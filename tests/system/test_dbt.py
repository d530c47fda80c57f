"""dbt with the real `dbt-feldera` adapter: seeds, models, a changed model, documentation.

dbt gets a virtual environment of its own, in `.penstock/dbt` (git-ignored). `dbt test` is not
here: the adapter lets agate guess the types of its answer, which reads `failures = 0` as a boolean,
whatever the server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.conftest import System

#: the newest of dbt that comes as Python alone
PACKAGES = ("dbt-core==1.11.16", "dbt-feldera==0.369.0")
HOME = Path(__file__).parent.parent.parent / ".penstock" / "dbt"
FILES = {
    "dbt_project.yml": """
name: shop
version: "1.0"
profile: shop
flags: {send_anonymous_usage_stats: false}
""",
    "seeds/orders.csv": """id,customer,amount,placed_at,day,paid
1,ann,12.50,2024-01-01 10:00:00,2024-01-01,true
2,bob,7.25,2024-01-02 11:00:00,2024-01-02,false
3,ann,100,2024-01-03 12:30:00,2024-01-03,true
""",
    "models/placed.sql": """
{{ config(materialized='view') }}
with orders as (select * from {{ ref('orders') }})
select id, customer, cast(amount as decimal(10, 2)) as amount, placed_at, paid,
       md5(cast(id as varchar) || '-' || customer) as surrogate,
       row_number() over (partition by customer order by placed_at desc) as newest
from orders
""",
    "models/totals.sql": """
{{ config(materialized='view', stored=true) }}
select customer, count(*) as n, sum(amount) as total, max(placed_at) as last_at,
       coalesce(sum(case when paid then amount end), 0) as paid
from {{ ref('placed') }} group by customer
""",
}
PROFILE = """
shop:
  target: dev
  outputs:
    dev: {{type: feldera, host: "{url}", database: default, schema: shop, timeout: 120}}
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def dbt() -> Path:
    """The command, installed once."""
    command = HOME / "bin" / "dbt"
    if not command.exists():
        python = HOME / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", str(HOME)], check=True)
        done = subprocess.run(
            [python, "-m", "pip", "install", "--quiet", *PACKAGES], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"dbt cannot be installed: {done.stderr[-500:]}")
    return command


def test_a_project_becomes_a_running_pipeline_and_follows_its_models(
    system: System, dbt: Path, tmp_path: Path
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "profiles.yml").write_text(PROFILE.format(url=system.url))

    def run(*arguments: str) -> None:
        done = subprocess.run(
            [dbt, *arguments, "--profiles-dir", "."],
            cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-4000:]

    def totals() -> dict[str, tuple[int, str]]:
        answer = system.http.get(
            "/pipelines/shop/query", params={"sql": "SELECT * FROM totals", "format": "json"}
        )
        assert answer.status_code == 200, answer.text
        found = map(json.loads, answer.text.splitlines())
        return {r["customer"]: (r["n"], f"{r['total']:.2f}") for r in found}

    run("debug")
    run("build")
    assert totals() == {"ann": (2, "112.50"), "bob": (1, "7.25")}
    newer = FILES["models/totals.sql"].replace("group by", "where newest = 1 group by")
    (tmp_path / "models/totals.sql").write_text(newer)
    run("build")
    assert totals() == {"ann": (1, "100.00"), "bob": (1, "7.25")}
    run("docs", "generate")
    catalog = json.loads((tmp_path / "target" / "catalog.json").read_text())
    (node,) = [n for key, n in catalog["nodes"].items() if key.endswith("totals")]
    assert list(node["columns"]) == ["customer", "n", "total", "last_at", "paid"]
