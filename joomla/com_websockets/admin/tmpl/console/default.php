<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

\defined('_JEXEC') or die;

use Joomla\CMS\Language\Text;
use Joomla\CMS\Router\Route;

/** @var Jsocketd\Component\Websockets\Administrator\View\Console\HtmlView $this */

?>
<div id="websockets-console" class="websockets">
    <div class="main-card p-3 p-md-4">
        <noscript><p class="alert alert-warning"><?php echo Text::_('COM_WEBSOCKETS_NEEDS_JAVASCRIPT'); ?></p></noscript>
<?php if (!$this->page->enabled) : ?>
        <p class="alert alert-warning">
            <?php echo Text::_('COM_WEBSOCKETS_FOUND_DISABLED'); ?> <?php echo Text::_('COM_WEBSOCKETS_FOUND_DISABLED_MEND'); ?>
        </p>
<?php endif; ?>
<?php if (!$this->page->isReady()) : ?>
        <p class="alert alert-danger">
            <?php echo Text::_('COM_WEBSOCKETS_FOUND_NO_URL'); ?>
            <?php echo $this->escape(Text::sprintf('COM_WEBSOCKETS_FOUND_NO_URL_MEND', $this->page->site->suggestion())); ?>
        </p>
<?php endif; ?>
        <section class="websockets-lamp" id="websockets-lamp" data-state="stopped" aria-labelledby="websockets-lamp-word">
            <span class="websockets-light" aria-hidden="true"></span>
            <p class="websockets-lamp-words">
                <strong id="websockets-lamp-word"><?php echo Text::_('COM_WEBSOCKETS_LAMP_OFF'); ?></strong>
                <span id="websockets-lamp-detail"></span>
            </p>
            <div class="websockets-lamp-buttons">
                <button type="button" class="btn btn-secondary" id="websockets-connect"<?php echo $this->page->isReady() ? '' : ' disabled'; ?>>
                    <?php echo Text::_('COM_WEBSOCKETS_BUTTON_CONNECT'); ?>
                </button>
<?php if ($this->page->maySeeStatus) : ?>
                <a class="btn btn-outline-secondary" href="<?php echo Route::_('index.php?option=com_websockets&view=status'); ?>">
                    <?php echo Text::_('COM_WEBSOCKETS_LINK_STATUS'); ?>
                </a>
<?php endif; ?>
            </div>
            <p class="websockets-identity" id="websockets-identity" data-kind="unknown"><?php echo Text::_('COM_WEBSOCKETS_IDENTITY_UNKNOWN'); ?></p>
        </section>

        <div class="websockets-panes">
            <section class="websockets-pane" aria-labelledby="websockets-client-caption">
                <div class="websockets-pane-head">
                    <h2 id="websockets-client-caption"><?php echo Text::_('COM_WEBSOCKETS_PANE_CLIENT'); ?></h2>
                    <button type="button" class="btn btn-sm btn-outline-secondary" id="websockets-client-clear"
                        aria-describedby="websockets-client-caption">
                        <?php echo Text::_('COM_WEBSOCKETS_BUTTON_CLEAR'); ?>
                    </button>
                </div>
                <div class="websockets-log" id="websockets-client" role="log" aria-live="off" aria-labelledby="websockets-client-caption"
                    tabindex="0"></div>
            </section>
            <section class="websockets-pane" aria-labelledby="websockets-server-caption">
                <div class="websockets-pane-head">
                    <h2 id="websockets-server-caption"><?php echo Text::_('COM_WEBSOCKETS_PANE_SERVER'); ?></h2>
                    <button type="button" class="btn btn-sm btn-outline-secondary" id="websockets-server-clear"
                        aria-describedby="websockets-server-caption">
                        <?php echo Text::_('COM_WEBSOCKETS_BUTTON_CLEAR'); ?>
                    </button>
                </div>
                <div class="websockets-log" id="websockets-server" role="log" aria-live="off" aria-labelledby="websockets-server-caption"
                    tabindex="0"></div>
            </section>
        </div>

        <form class="websockets-composer" id="websockets-composer" autocomplete="off">
            <label for="websockets-command"><?php echo Text::_('COM_WEBSOCKETS_COMMAND'); ?></label>
            <div class="input-group">
                <input type="text" class="form-control" id="websockets-command" placeholder="test" maxlength="8000" autocomplete="off"
                    autocapitalize="none" autocorrect="off" spellcheck="false" enterkeyhint="send" aria-describedby="websockets-hint">
                <button type="submit" class="btn btn-primary"><?php echo Text::_('COM_WEBSOCKETS_BUTTON_SEND'); ?></button>
            </div>
            <p class="form-text" id="websockets-hint"><?php echo Text::_('COM_WEBSOCKETS_COMMAND_HINT'); ?></p>
        </form>

        <section aria-labelledby="websockets-commands-caption">
            <h2 class="h4" id="websockets-commands-caption"><?php echo Text::_('COM_WEBSOCKETS_COMMANDS'); ?></h2>
            <ul class="websockets-commands" id="websockets-commands">
                <li>
                    <button type="button" class="btn btn-sm btn-outline-secondary" data-command="test">test</button>
                    <span><?php echo Text::_('COM_WEBSOCKETS_COMMAND_TEST'); ?></span>
                </li>
                <li>
                    <button type="button" class="btn btn-sm btn-outline-secondary" data-command="version">version</button>
                    <span><?php echo Text::_('COM_WEBSOCKETS_COMMAND_VERSION'); ?></span>
                </li>
                <li>
                    <button type="button" class="btn btn-sm btn-outline-secondary" data-command="help">help</button>
                    <span><?php echo Text::_('COM_WEBSOCKETS_COMMAND_HELP'); ?></span>
                </li>
            </ul>
        </section>
        <p class="visually-hidden" id="websockets-said" role="status" aria-live="polite"></p>
    </div>
</div>
