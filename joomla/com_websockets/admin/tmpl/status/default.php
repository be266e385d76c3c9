<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

\defined('_JEXEC') or die;

use Joomla\CMS\HTML\HTMLHelper;
use Joomla\CMS\Language\Text;
use Joomla\CMS\Router\Route;

/** @var Jsocketd\Component\Websockets\Administrator\View\Status\HtmlView $this */

$facts    = $this->page->facts;
$settings = $facts->settings;
$none     = '–';
$number   = static fn (mixed $value, int $digits = 0): string => $value === null ? $none
    : Text::sprintf('COM_WEBSOCKETS_STATUS_MS', number_format((float) $value, $digits, '.', ''));
$yes      = static fn (?bool $value): string => $value === null ? $none : Text::_($value ? 'JYES' : 'JNO');

$rows = [
    'COM_WEBSOCKETS_STATUS_SERVER'      => $facts->status === null
        ? Text::_('COM_WEBSOCKETS_STATUS_AWAY')
        : Text::sprintf('COM_WEBSOCKETS_STATUS_THERE', number_format($facts->statusMs, 1, '.', '')),
    'COM_WEBSOCKETS_STATUS_VERSION'     => Text::sprintf(
        'COM_WEBSOCKETS_STATUS_VERSIONS',
        $facts->reported('string', 'version') ?? $none,
        $facts->package ?? $none
    ),
    'COM_WEBSOCKETS_STATUS_UPTIME'      => ($uptime = $facts->reported('int', 'uptime_s')) === null ? $none
        : Text::sprintf('COM_WEBSOCKETS_STATUS_HOURS', intdiv($uptime, 3600), intdiv($uptime % 3600, 60), $uptime % 60),
    'COM_WEBSOCKETS_STATUS_CONNECTIONS' => (string) ($facts->reported('int', 'connections') ?? $none),
    'COM_WEBSOCKETS_STATUS_PROCESSES'   => (string) ($facts->reported('int', 'cluster', 'processes')
        ?? ($facts->status === null ? $none : 1)),
    'COM_WEBSOCKETS_STATUS_LOOP'        => Text::sprintf(
        'COM_WEBSOCKETS_STATUS_LOOP_VALUES',
        $number($facts->reported('float', 'loop', 'delay_ms_p99'), 1),
        $number($facts->reported('float', 'loop', 'delay_ms_max'), 1)
    ),
    'COM_WEBSOCKETS_STATUS_OUTBOX'      => $facts->reported('bool', 'outbox', 'available') === true
        ? $number($facts->reported('int', 'outbox', 'lag_ms'))
        : Text::_('COM_WEBSOCKETS_STATUS_OUTBOX_AWAY'),
    'COM_WEBSOCKETS_STATUS_JOOMLA'      => Text::sprintf(
        'COM_WEBSOCKETS_STATUS_VERSIONS_JOOMLA',
        $facts->reported('string', 'site', 'joomla') ?? $none,
        $facts->joomla
    ),
    'COM_WEBSOCKETS_STATUS_TABLES'      => $facts->missing === []
        ? Text::sprintf('COM_WEBSOCKETS_STATUS_TABLES_THERE', $facts->schema ?? $none)
        : Text::sprintf('COM_WEBSOCKETS_STATUS_TABLES_MISSING', implode(', ', $facts->missing)),
    'COM_WEBSOCKETS_STATUS_SWITCH'      => $yes($settings->enabled),
    'COM_WEBSOCKETS_STATUS_URL'         => $settings->serverUrl === '' ? $none : $settings->serverUrl,
    'COM_WEBSOCKETS_STATUS_ADDRESS'     => $settings->serverAddress,
    'COM_WEBSOCKETS_STATUS_APP'         => $settings->appId === '' ? $none : $settings->appId,
];

$hops = ['SOCKET', 'HTTP', 'OUTBOX'];

?>
<div id="websockets-status" class="websockets">
    <section class="main-card p-3 p-md-4 mb-4" aria-labelledby="websockets-now-caption">
        <div class="websockets-head">
            <h2 id="websockets-now-caption"><?php echo Text::_('COM_WEBSOCKETS_STATUS_NOW'); ?></h2>
            <a class="btn btn-secondary" href="<?php echo Route::_('index.php?option=com_websockets&view=status'); ?>">
                <?php echo Text::_('COM_WEBSOCKETS_BUTTON_AGAIN'); ?>
            </a>
<?php if ($this->page->mayUseConsole) : ?>
            <a class="btn btn-outline-secondary" href="<?php echo Route::_('index.php?option=com_websockets&view=console'); ?>">
                <?php echo Text::_('COM_WEBSOCKETS_LINK_CONSOLE'); ?>
            </a>
<?php endif; ?>
        </div>
<?php if ($this->page->results === []) : ?>
        <p class="alert alert-success"><?php echo Text::_('COM_WEBSOCKETS_STATUS_GOOD'); ?></p>
<?php else : ?>
        <ul class="websockets-results">
    <?php foreach ($this->page->results as $result) : ?>
            <li class="alert alert-<?php echo $result->level; ?>">
                <strong><?php echo Text::_('COM_WEBSOCKETS_LEVEL_' . strtoupper($result->level)); ?></strong>
                <span class="websockets-found"><?php echo $this->escape($result->text()); ?></span>
                <span class="websockets-fix"><span aria-hidden="true">→</span> <?php echo $this->escape($result->fix()); ?></span>
            </li>
    <?php endforeach; ?>
        </ul>
<?php endif; ?>
        <dl class="websockets-facts">
<?php foreach ($rows as $label => $value) : ?>
            <div><dt><?php echo Text::_($label); ?></dt><dd><?php echo $this->escape($value); ?></dd></div>
<?php endforeach; ?>
            <div>
                <dt><?php echo Text::_('COM_WEBSOCKETS_STATUS_HEARTBEATS'); ?></dt>
                <dd>
<?php if ($facts->heartbeats === []) : ?>
                    <?php echo Text::_('COM_WEBSOCKETS_STATUS_NO_HEARTBEATS'); ?>
<?php else : ?>
                    <ul class="list-unstyled mb-0">
    <?php foreach ($facts->heartbeats as $one) : ?>
                        <li><?php echo $this->escape(Text::sprintf(
                            $one['fresh'] ? 'COM_WEBSOCKETS_STATUS_HEARTBEAT' : 'COM_WEBSOCKETS_STATUS_HEARTBEAT_OLD',
                            $one['process'],
                            $one['position'],
                            intdiv($one['age_ms'], 1000)
                        )); ?></li>
    <?php endforeach; ?>
                    </ul>
<?php endif; ?>
                </dd>
            </div>
        </dl>
    </section>

    <section class="main-card p-3 p-md-4 mb-4" aria-labelledby="websockets-chain-caption">
        <div class="websockets-head">
            <h2 id="websockets-chain-caption"><?php echo Text::_('COM_WEBSOCKETS_CHAIN'); ?></h2>
            <button type="button" class="btn btn-primary" id="websockets-chain-test"><?php echo Text::_('COM_WEBSOCKETS_BUTTON_CHAIN'); ?></button>
        </div>
        <p><?php echo Text::_('COM_WEBSOCKETS_CHAIN_DESC'); ?></p>
        <noscript><p class="alert alert-warning"><?php echo Text::_('COM_WEBSOCKETS_NEEDS_JAVASCRIPT'); ?></p></noscript>
        <ol class="websockets-hops">
<?php foreach ($hops as $hop) : ?>
            <li class="websockets-hop" id="websockets-hop-<?php echo strtolower($hop); ?>" data-state="idle">
                <span class="websockets-light" aria-hidden="true"></span>
                <span class="websockets-hop-name"><?php echo Text::_('COM_WEBSOCKETS_HOP_' . $hop); ?></span>
                <span class="websockets-hop-state"><?php echo Text::_('COM_WEBSOCKETS_CHAIN_IDLE'); ?></span>
                <span class="websockets-hop-time"></span>
                <span class="websockets-hop-words"></span>
                <span class="websockets-hop-fix" hidden></span>
            </li>
<?php endforeach; ?>
        </ol>
        <p id="websockets-said" class="websockets-verdict" role="status" aria-live="polite"></p>
    </section>

<?php if ($this->page->mayChange) : ?>
    <section class="main-card p-3 p-md-4 mb-4" aria-labelledby="websockets-rotate-caption">
        <h2 id="websockets-rotate-caption"><?php echo Text::_('COM_WEBSOCKETS_ROTATE'); ?></h2>
        <p><?php echo Text::_('COM_WEBSOCKETS_ROTATE_DESC'); ?></p>
    <?php if ($this->page->oldUntil !== null) : ?>
        <p class="alert alert-info"><?php echo $this->escape(Text::sprintf(
            'COM_WEBSOCKETS_ROTATE_UNTIL',
            HTMLHelper::_('date', '@' . $this->page->oldUntil, Text::_('COM_WEBSOCKETS_TIME_FORMAT'))
        )); ?></p>
    <?php endif; ?>
        <form action="<?php echo Route::_('index.php?option=com_websockets'); ?>" method="post">
            <button type="submit" class="btn btn-secondary"><?php echo Text::_('COM_WEBSOCKETS_BUTTON_ROTATE'); ?></button>
            <input type="hidden" name="task" value="credentials.rotate">
            <?php echo HTMLHelper::_('form.token'); ?>
        </form>
    </section>
<?php endif; ?>

    <section class="main-card p-3 p-md-4" aria-labelledby="websockets-snippets-caption">
        <h2 id="websockets-snippets-caption"><?php echo Text::_('COM_WEBSOCKETS_SNIPPETS'); ?></h2>
        <p><?php echo Text::_('COM_WEBSOCKETS_SNIPPETS_DESC'); ?></p>
<?php foreach ($this->page->snippets as $name => $snippet) :
    $id    = 'websockets-snippet-' . $name;
    $title = Text::_('COM_WEBSOCKETS_SNIPPET_' . strtoupper($name));
    ?>
        <details class="websockets-snippet"<?php echo $name === 'jsocketd' ? ' open' : ''; ?>>
            <summary>
                <span class="websockets-snippet-name"><?php echo $title; ?></span>
                <code><?php echo $this->escape($snippet['file']); ?></code>
            </summary>
            <button type="button" class="btn btn-sm btn-secondary websockets-copy" data-copy="<?php echo $id; ?>">
                <?php echo Text::sprintf('COM_WEBSOCKETS_BUTTON_COPY', $title); ?>
            </button>
            <pre tabindex="0" role="group" aria-label="<?php echo $this->escape($title); ?>"><code
                id="<?php echo $id; ?>"><?php echo $this->escape($snippet['text']); ?></code></pre>
        </details>
<?php endforeach; ?>
    </section>
</div>
