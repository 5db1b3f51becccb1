"""What results, transcripts, tools and agents look like in notebooks, on pages and in the terminal.

A value is made a view (`cards`, `timeline`), and a view is written as HTML (`html`) or for the terminal (`terminal`).
"""
