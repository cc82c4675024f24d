-- Only Postgres keeps the log in partitions. Here what is old goes in small runs, and its pages are used again.
update compatibility set oldest = 15;
