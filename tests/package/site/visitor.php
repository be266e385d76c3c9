<?php

// A page as a site could have it, for the picture of docs/visitor.png. index.php includes it.

defined('_JEXEC') || exit;
?>
<header class="site-head"><strong>Rowing Club</strong> <nav><a href="#">News</a> <a href="#">Tours</a> <a href="#">Club</a></nav></header>
<main>
<h1>Regatta on Saturday at ten</h1>
<p class="by">News, by the board</p>
<p>The first boats leave the jetty then, the eights at noon. Bring warm clothes: the forecast says wind from the
west. Spectators find the best places on the bridge and below the mill.</p>
<p>Whoever helps with the boats is welcome from eight on. Coffee is there, cake is needed.</p>
</main>
