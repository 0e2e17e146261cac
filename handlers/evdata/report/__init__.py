"""The report: one self-contained page about a published version, for people who will not write SQL.

`facts.read` asks the views of the contract (views.py) what there is to tell, `page.page` writes it as HTML, and
`writing.write` puts it into the bucket. Electric vehicles are known here too: what is worth saying about a dataset is
the dataset's own, so another dataset needs another report or, without these views, has none.
"""
