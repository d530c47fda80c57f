"""Values for the nine TPC-DS queries that ask for what random rows seldom have: groups of 15 to 20,
eleven customers of one place, the same turnover in three channels. Column → what it may hold.

What is not named here is as in `tpcds`; so are the NULLs and the changes, of which the
first fills the tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_FEW = [0, 1, 2]


def _each(columns: tuple[str, ...], values: list[Any]) -> dict[str, list[Any]]:
    return dict.fromkeys(columns, values)


FITTED: Mapping[str, Mapping[str, list[Any]]] = {
    "q8": {
        "ca_zip": ["24128", "76232"],
        "s_zip": ["24128", "76555", "11111"],
        "c_current_addr_sk": _FEW,
        "c_preferred_cust_flag": ["Y", "Y", "Y", "N"],
        "d_qoy": [2],
        "d_year": [1998],
    },
    "q34": {
        "ss_ticket_number": [1, 2, 3, 4],
        "ss_customer_sk": [0, 1, 2, 3],
        "d_dom": [1, 2, 3, 25],
        "hd_buy_potential": [">10000", "Unknown"],
        "hd_vehicle_count": [1],
        "hd_dep_count": [2],
        "d_year": [1999, 2000, 2001],
        "s_county": ["Williamson County"],
    },
    "q39": {
        "inv_item_sk": _FEW,
        "inv_warehouse_sk": [0, 1],
        "inv_quantity_on_hand": [0, 0, 0, 0, 900],
        "d_year": [2001],
        "d_moy": [1, 2],
    },
    "q44": {"ss_store_sk": [4], "ss_addr_sk": [None, 1, 2]},
    "q47": {
        "i_category": ["Books"],
        "i_brand": ["B"],
        "s_store_name": ["S"],
        "s_company_name": ["C"],
        "d_year": [1998, 1999, 1999, 1999, 2000],
        "d_moy": [12, 1, 2, 3],
    },
    "q54": {
        "i_category": ["Women"],
        "i_class": ["maternity"],
        "d_year": [1998, 1999],
        "d_moy": [12, 1, 2],
        "d_month_seq": [],
        "ca_county": ["K"],
        "s_county": ["K"],
        "ca_state": ["S"],
        "s_state": ["S"],
        "c_current_addr_sk": _FEW,
    },
    "q58": {
        "i_item_id": ["A"],
        **_each(("ss_sold_date_sk", "cs_sold_date_sk", "ws_sold_date_sk"), [0]),
        **_each(("ss_ext_sales_price", "cs_ext_sales_price", "ws_ext_sales_price"), [Decimal(10)]),
    },
    "q64": {
        **_each(
            (
                "ss_store_sk",
                "ss_cdemo_sk",
                "ss_hdemo_sk",
                "ss_addr_sk",
                "ss_promo_sk",
                "c_current_cdemo_sk",
                "c_current_hdemo_sk",
                "c_current_addr_sk",
                "hd_income_band_sk",
                "c_first_sales_date_sk",
                "c_first_shipto_date_sk",
                "ss_customer_sk",
            ),
            _FEW,
        ),
        **_each(("ss_item_sk", "sr_item_sk", "cs_item_sk", "cr_item_sk"), [0, 1]),
        **_each(
            ("ss_ticket_number", "sr_ticket_number", "cs_order_number", "cr_order_number"), [1, 2]
        ),
        "ss_sold_date_sk": [0, 1, 2, 3, 4, 5],
        "d_year": [1999, 2000],
        "cd_marital_status": ["M", "S", "D"],
        "i_color": ["purple"],
        "i_current_price": [Decimal(70)],
        "cs_ext_list_price": [Decimal(900)],
        "cr_refunded_cash": [Decimal(1)],
        "cr_reversed_charge": [Decimal(1)],
        "cr_store_credit": [Decimal(1)],
        "s_store_name": ["S"],
        "s_zip": ["1"],
        "i_product_name": ["P"],
        **_each(("ca_street_number", "ca_street_name", "ca_city", "ca_zip"), ["X"]),
    },
    "q69": {
        "ca_state": ["KY"],
        "d_year": [2001],
        "d_moy": [4, 5, 6],
        "ws_bill_customer_sk": [0, 1, 2],
        "cs_ship_customer_sk": [3, 4, 5],
    },
}
SIZES: Mapping[str, Mapping[str, int]] = {
    "q64": {"store_sales": 400, "store_returns": 20, "catalog_sales": 20, "catalog_returns": 20}
}
